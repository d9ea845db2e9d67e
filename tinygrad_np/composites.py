"""Functions written in terms of ops."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .definition import Case, Op, enter
from .hints import of_keywords
from .tensor import Function

F = TypeVar("F", bound=Function)


def composite(
    *, cases: Sequence[Case], numpy: Function | Sequence[Function] = (), analytic: bool = True
) -> Callable[[F], F]:
    """Decorator for a function written in terms of ops. It has sample cases, but no rules.

    >>> import tinygrad_np as tg
    >>> from tinygrad_np.cases import case, normal
    >>> @tg.composite(cases=[case(normal(3))])
    ... def logistic(x):
    ...     return 1 / (1 + tg.exp(-x))
    >>> logistic(tg.Tensor(0.0)).item()
    0.5
    >>> del tg.OPS["logistic"]
    """

    def define(forward: F) -> F:
        code = forward.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        function = _hinting(forward, names) if "axis" in names else forward
        op = Op(
            forward.__name__, forward, cases, parameters=names,
            analytic=analytic, composite=True, function=function,
        )  # fmt: skip
        enter(op, numpy)
        return function

    return define


def _hinting(forward: F, names: Sequence[str]) -> F:
    """The function, with advice for arguments named as in PyTorch."""

    @functools.wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        if unknown := {name: value for name, value in kwargs.items() if name not in names}:
            raise TypeError(of_keywords(forward.__name__, unknown, names))
        return forward(*args, **kwargs)

    return call  # type: ignore[return-value]
