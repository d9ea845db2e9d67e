"""The backward pass, written out: the program of the rules as plain NumPy and as mathematics.

``replay`` makes a function of a recorded graph again. ``writer`` traces this function and its
backward pass, ``reading`` simplifies the program by the rules of ``arithmetic`` and
``arrangement``, ``batch`` finds the size of the batch in it, and ``lines`` decides which values get
names. ``numpy_text`` and ``source`` print the program as NumPy, ``latex`` as equations; ``compare``
compares your own derivation with it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recorder import record
from ..tensor import Tensor
from ..tracing import drawing
from .problem import DerivationError as DerivationError

if TYPE_CHECKING:  # imported when something is derived: import tinygrad_np is to stay quick
    from ..drawing.names import Names
    from .derived import Derivation


def derivation(
    loss: Tensor | Callable[..., Tensor], *args: Any, names: Names = None, **kwargs: Any
) -> Derivation:
    """The forward and the backward pass of a loss, as a person would write them by hand.

    ``loss`` is a scalar Tensor, or a function that returns one for ``args`` and ``kwargs``.
    Gradients are by all leaves that require grad; if the function has none, by its real arguments.
    ``names`` is a module, or a dict of names and their Tensors and arrays. A Tensor's own name and
    the names of the function's parameters are used as well.

    The result's ``numpy()`` is the source of a function in plain NumPy, ``latex()`` the same as
    equations, and ``compare(own)`` finds the first line of your own derivation that differs. If an
    op does different things for different values, such as labels or masks, the derivation holds
    for the given ones.

    The program is traced once more for a batch without its last row; a function is called again for
    this. If both programs are equal except for numbers that grow with the batch, these numbers are
    written in terms of ``n``. The printed source is executed and compared with the gradient rules.

    A Tensor's graph must still hold its arrays: derive before ``backward()``, or run both inside
    ``with tg.record():``. Constants that no rule reads are known only there.

    Raises TypeError for anything but a scalar Tensor, and DerivationError (a ValueError) if the
    graph does not hold what is needed, or an op uses functions other than NumPy's.

    >>> import numpy as np, tinygrad_np as tg
    >>> W = tg.Tensor([[1.0, -1.0]], requires_grad=True, name="W")
    >>> x = np.array([[2.0], [3.0]])
    >>> derived = tg.derivation(lambda x: tg.tanh(x @ W).sum(), x)
    >>> print(derived.numpy().partition("# Forward")[2])
    <BLANKLINE>
        a1 = x @ W                                        # matmul
        z1 = np.tanh(a1)                                  # tanh
        loss = np.sum(z1)                                 # sum
        # Backward
        delta1 = 1 - z1 * z1                              # tanh
        dW = x.T @ delta1                                 # matmul
        return loss, {"W": dW}
    <BLANKLINE>
    """
    from ..drawing.names import named
    from .derived import Derivation
    from .replay import Replay

    shorter = None
    if not isinstance(loss, Tensor):
        if not callable(loss):
            raise TypeError(
                f"derivation is of a scalar Tensor or a function, not of a {type(loss).__name__}"
            )
        function, more = loss, list(named(names))
        loss, found = _recorded(function, args, kwargs)
        names = found + more

        def shorter() -> Replay:
            loss, found = _with_one_less(function, args, kwargs)
            return Replay(loss, found + more)

    elif args or kwargs:
        raise TypeError("derivation of a Tensor takes no arguments: give names={'x': x}")
    if loss.size != 1:
        raise ValueError(
            f"derivation is of a scalar, and this Tensor has shape {loss.shape}: reduce it, for "
            "example with .sum(), or with (out * weights).sum() for an upstream gradient"
        )
    if loss.node is None:
        raise ValueError(
            f"no graph leads to this {loss.label()}: nothing that it was computed from requires "
            "grad, or it was computed inside no_grad()"
        )
    return Derivation(Replay(loss, names), shorter)


def _recorded(
    function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, list[tuple[str, Any]]]:
    """The loss, recorded, and the arrays among the arguments with the parameters' names."""
    with record():
        loss: Any = function(*args, **kwargs)
    if getattr(loss, "node", None) is None:  # no parameter takes part
        args, kwargs = tuple(map(_leaf, args)), {k: _leaf(v) for k, v in kwargs.items()}
        with record():
            loss = function(*args, **kwargs)
    if not isinstance(loss, Tensor):
        raise TypeError(f"the function must return a scalar Tensor, got {type(loss).__name__}")
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = dict(kwargs)
    return loss, [(k, v) for k, v in bound.items() if isinstance(v, np.ndarray | Tensor)]


def _leaf(value: Any) -> Any:
    real = isinstance(value, np.ndarray | float) and np.asarray(value).dtype.kind == "f"
    return Tensor(value, requires_grad=True) if real else value


def _with_one_less(
    function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, list[tuple[str, Any]]]:
    """The same for the batch without its last row; random draws do not move the generators."""
    from .batch import one_less

    given: dict[Any, Any] = dict(enumerate(args))
    given |= kwargs
    given |= one_less({k: v for k, v in given.items() if isinstance(v, np.ndarray)})
    args = tuple([given[i] for i in range(len(args))])
    with drawing(lambda draw, function, rng: draw(function, copy.deepcopy(rng))):
        return _recorded(function, args, {k: given[k] for k in kwargs})
