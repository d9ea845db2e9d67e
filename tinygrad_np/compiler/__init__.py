"""``compile``: trace a training step once and replay it as one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # imported at the first compile, which keeps import tinygrad_np quick
    from .compiled import Compiled

__all__ = ["CompileError", "compile"]


class CompileError(RuntimeError):
    """A step does something that cannot be replayed. The message names the line.

    >>> import numpy as np, tinygrad_np as tg
    >>> step = tg.compile(lambda x: x if x.sum() > 0 else -x)
    >>> step(np.ones(3))
    Traceback (most recent call last):
    ...
    tinygrad_np.compiler.CompileError: ...
    """


def compile(
    function: Callable[..., Any],
    *,
    exact: bool = False,
    backend: Literal["numpy", "native"] | None = None,
    verify: bool | int = True,
) -> Compiled:
    """Trace a step once and replay it as one program: eager's results, much faster.

    A *step* is a function that may call ``backward`` and an optimiser. It takes and returns arrays,
    Tensors, numbers, and tuples, lists and dicts of them. The contract:

    1. A step is given its arguments and the variables that its code names (closure and globals).
       It is also given the variables that your own functions and classes among these name.
    2. Arrays among the arguments are inputs. Results are copies; returned Tensors are constants.
    3. Arrays and Tensors held by given objects (parameters, gradients, buffers, optimisers) are
       state: each call reads them at their places and writes them back.
    4. Everything else that is given (numbers, words, flags, the structure of lists and dicts) is
       static: each call compares it, and traces the step again if it differs.
    5. Learning rates and schedules are ordinary Python: evaluated before each run.
    6. ``tg.dropout`` draws its mask before each run, from eager's generators in eager's order.
    7. What the step reads in any other way (the environment, a file, a weak reference) counts as
       constant. A parameter that is reached in such a way is an error.
    8. A repeated trace finds mistakes, at calls 2, 4, 8, ..., 1,024 and then as often as costs 1%
       of the time: a difference is an error that names the line. ``verify=n`` repeats it at every
       n-th call, ``verify=False`` never.
    9. Reading the values of a traced array (``if x > 0``, ``.item()``, ``print(f"{x}")``) is a
       ``CompileError`` that names the line. So is changing what a replay cannot write back: a
       Python number that the step counts up, a list that it appends to.
    10. A call that raises leaves parameters, gradients and optimisers unchanged.

    ``exact=True`` leaves out the passes that change the order of additions: the results are then
    eager's to the last bit. ``backend`` chooses the executor: "native" (C code, the default where
    a compiler is found: see ``tg.show_config()``) or "numpy". The step runs eagerly under
    ``tg.record`` and ``tg.debug``, and where an argument shares memory with the state that the
    step updates.

    Right: the step's code names the parameter and the optimiser, so it is given both.

    >>> import numpy as np, tinygrad_np as tg
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> opt = tg.optim.SGD([w], lr=0.1)
    >>> @tg.compile
    ... def step(x):
    ...     loss = ((w * x) ** 2).sum()
    ...     loss.backward()
    ...     opt.step()
    ...     opt.zero_grad()
    ...     return loss
    >>> [round(step(np.array([1.0, 1.0])).item(), 4) for _ in range(4)]
    [5.0, 3.2, 2.048, 1.3107]

    Wrong: the environment is not a variable of the step. The second call finds out.

    >>> import os
    >>> os.environ["SCALE"] = "1"
    >>> scaled = tg.compile(lambda x: x * float(os.environ["SCALE"]))
    >>> scaled(np.ones(2)).tolist()
    [1.0, 1.0]
    >>> os.environ["SCALE"] = "2"
    >>> scaled(np.ones(2))
    Traceback (most recent call last):
    ...
    tinygrad_np.compiler.CompileError: the step does not do the same at each call: ...
    >>> del os.environ["SCALE"]
    """
    from .compiled import Compiled

    return Compiled(function, exact, backend, verify)
