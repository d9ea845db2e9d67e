"""A network that some library trains, in a form that all libraries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class Trained(NamedTuple):
    """A network made ready for training.

    ``step(x, labels)`` makes one update and returns the loss before it, in the library's own type.
    ``parameters`` gives ndarrays of the present parameters; it is None where nothing is trained.
    ``convert`` makes the library's own arrays of a batch; ``wait`` returns when the work that
    yields a loss is done.
    """

    step: Callable[[Any, Any], Any]
    parameters: Callable[[], list[Array]] | None
    convert: Callable[[Array, Array], tuple[Any, Any]] = lambda x, labels: (x, labels)
    wait: Callable[[Any], Any] = lambda loss: loss
