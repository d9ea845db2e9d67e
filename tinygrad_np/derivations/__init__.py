"""The backward pass, written out: the program of the rules, as plain NumPy and as mathematics.

``replay`` makes a function of a recorded graph again, ``writer`` traces it and its backward pass,
``reading`` simplifies the program for people, by the rules of ``arithmetic`` and ``arrangement``,
``batch`` finds the size of the batch in it, ``lines`` decides which values have names;
``numpy_text`` and ``source`` print it as NumPy, ``latex`` as equations, and ``compare`` holds
somebody's own derivation against it.
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

    ``loss`` is a scalar Tensor, or a function of ``args`` and ``kwargs`` that returns one.
    Gradients are by all leaves that require grad; where a function meets none, by its real
    arguments.
    ``names`` is a module, or a dict of names and the Tensors and arrays that have them; a Tensor's
    own name and the function's parameter names are used as well.

    The result's ``numpy()`` is the source of a function in plain NumPy, ``latex()`` the same as
    equations, and ``compare(own)`` shows where somebody's own derivation parts from it. Whether a
    branch of an op depends on values, such as those of labels or masks, is written as it is here.

    The program is traced once more for a batch without its last row (a function is called once
    more for that): if both are the same but for numbers that go with the size of the batch, these
    are written as ``n``. What is printed is executed and compared with the rules' own results.

    A Tensor's graph must still hold its arrays: ask before ``backward()``, or run both inside
    ``with tg.record():``. Constants that no rule reads are known only there.

    Raises TypeError for what is no scalar Tensor, and DerivationError (a ValueError) where the
    graph does not hold what is needed, or an op is not made of NumPy's functions.

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
    from .derived import Derivation
    from .replay import Replay

    shorter = None
    if not isinstance(loss, Tensor):
        if not callable(loss):
            raise TypeError(
                f"derivation is of a scalar Tensor or a function, not of a {type(loss).__name__}"
            )
        function, more = loss, _pairs(names)
        loss, found = _recorded(function, args, kwargs)
        names = [*found.items(), *more]

        def shorter() -> Replay:
            return Replay(*_with_one_less(function, args, kwargs, more))

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


def _pairs(names: Names) -> list[tuple[str, Any]]:
    from ..drawing.names import named

    return list(named(names))


def _recorded(
    function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """The loss, recorded, and the function's arguments by name."""
    with record():
        loss = function(*args, **kwargs)
    result: Any = loss
    if getattr(result, "node", None) is None:  # no parameter takes part
        args, kwargs = tuple(map(_leaf, args)), {k: _leaf(v) for k, v in kwargs.items()}
        with record():
            result = function(*args, **kwargs)
    if not isinstance(result, Tensor):
        raise TypeError(f"the function must return a scalar Tensor, got {type(result).__name__}")
    return result, _bound(function, args, kwargs)


def _leaf(value: Any) -> Any:
    real = isinstance(value, np.ndarray | float) and np.asarray(value).dtype.kind == "f"
    return Tensor(value, requires_grad=True) if real else value


def _bound(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arrays among the arguments, by the names of the function's parameters."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = dict(kwargs)
    return {k: v for k, v in bound.items() if isinstance(v, np.ndarray | Tensor)}


def _with_one_less(
    function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any], more: Any
) -> tuple[Tensor, Any]:
    """The loss of the batch without its last row, and the names; random draws are given back."""
    from .batch import one_less

    given = {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}
    less = one_less({k: v for k, v in given.items() if isinstance(v, np.ndarray)})
    args = tuple([less.get(str(i), arg) for i, arg in enumerate(args)])
    with drawing(lambda draw, function, rng: draw(function, copy.deepcopy(rng))):
        loss, found = _recorded(function, args, kwargs | {k: less[k] for k in kwargs if k in less})
    return loss, [*found.items(), *more]
