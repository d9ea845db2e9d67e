"""The audit: gradients derived by hand are compared with autograd's, and mistakes are named.

``judging`` does the work, imported at the first call: ``trace`` runs f, ``passes`` its backward
pass with ``mistakes`` in it, ``problem`` compares, ``sweep`` looks at every mistake once,
``search`` finds the fewest that explain what was given, ``findings`` says so in a ``report``. Each
kind of mistake has a room of its own: ``factors``, ``masks``, ``derivatives`` (of the ``units`` of
a graph), ``sums``, ``values``, ``paths``, ``shapes``, ``loops`` for those made again and again,
``kinks`` for what is right on either side, and ``elements`` for what nothing explains. ``layers``
and ``steps`` read gradients out of people's ``objects``, whose code runs on ``recording`` arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..tensor import Tensor
from .report import AuditReport as AuditReport
from .report import Diagnosis as Diagnosis
from .report import Verdict as Verdict

derive: Callable[..., Any] | None = None
"""``tg.derivation``, set by the package: it stands above, and knows the lines of people's code."""
Arrays = Mapping[str, Any] | Sequence[Any] | ArrayLike | Tensor


def audit(
    f: Callable[..., Any], inputs: Arrays, gradients: Arrays | Callable[..., Arrays] | None = None,
    *, deltas: Mapping[str, ArrayLike | Tensor] | None = None, rtol: float | None = None,
) -> AuditReport:  # fmt: skip
    """Check gradients derived by hand, and say what is wrong with them.

    ``inputs`` are arrays or Tensors of real numbers: a mapping, ``f(**inputs)``, a tuple or list,
    ``f(*inputs)``, or a single array, ``f(inputs)``. f returns a scalar Tensor. ``gradients`` are
    somebody's own for these inputs, in the same form, or a function that gives them and is called
    as f is, with arrays; None (and a name left out of a mapping) stands for one not given.
    ``deltas`` are derivatives of f for intermediate Tensors, by name: those that f names
    (``z.name = "z1"``) or returns, ``(loss, {"z1": z1})``. All is computed in float64.

    Each gradient is compared with autograd's, and autograd with a numerical derivative along a
    random direction. A gradient agrees if no element is farther off than ``rtol`` times its
    largest: 1e-7, or 1e-4 where it or the input is float32. (In one that cancels to nothing, only
    the rounding of the others is left; it is measured by them.) A gradient that agrees is right,
    whatever else is wrong. At a kink (relu at 0, ties of a maximum) the derivative of either side
    is right, and so is a gradient that leaves out an epsilon in f; the report's ``notes`` say so.

    If some are wrong, the backward pass is run again with deliberate mistakes, and the fewest that
    reproduce all gradients as given are reported: everywhere, or in one gradient alone. Of
    explanations that are equally good the first of these kinds is taken, and the others are named:

    - "factor": a constant factor, named where it is 2, ½, the batch size, a root of the width,
      1 − p of a dropout, an inverse or a product of these. So is a mean in place of a sum, dropout
      applied twice, and a lost use of x in x * x. Not −1, which is a
    - "sign", as are the signs of single elements, forgotten;
    - "transpose": of the gradient, of a part of it, or of a square matrix in a rule;
    - "mask": relu's, dropout's or the like missing, inverted or one too many, or relu of g;
    - "path": one use of a Tensor that is used several times is missing, or some turns of a loop, or
      what comes back through time; indices or windows that should add up overwrite each other; a
      term of a regularisation that f does not have;
    - "derivative": of another function, missing, multiplied twice, or the function in its place;
    - "sum": one missing over an axis, over the wrong axis, over one row only, or too many; the
      diagonal of softmax's Jacobian alone; an inner in place of an outer product;
    - "value": a rule reads another array than it should, as in σ'(σ(x)) or 1 − (mask · h)², or
      weights that were updated before;
    - "elements": a few elements, one row or one column, or rows that are 0;
    - "shape": the right numbers in another shape; "nan": nan or inf in the gradient;
    - "autograd": autograd and the numerical derivative differ: a rule of f's own ops is wrong;
    - "unknown": none of these; the words say what can be seen.

    Each names the source line of the op in f. Where ``gradients`` is a function of plain NumPy that
    ``tg.derivation`` can follow, the report also names its first line that is wrong.

    f may also be NumPy code that Tensors alone cannot run, with copies and writes in place. For
    layers and updates as they stand see ``audit_layer`` and ``audit_step``.

    Raises TypeError for integer inputs and where f gives no Tensor; ValueError where f's result is
    no scalar, nan, infinite, not the same twice, or independent of the inputs, for inputs of
    length 0, and where gradients and inputs (or deltas and Tensors) do not go together.

    >>> import numpy as np, tinygrad_np as tg
    >>> x, w = np.array([[1.0, 2.0], [3.0, -4.0], [2.0, 1.0]]), np.array([1.0, 2.0])
    >>> report = tg.audit(lambda w: tg.relu(x @ w).sum(), w, x.sum(axis=0))
    >>> bool(report), report["w"].kind
    (False, 'mask')
    >>> print(report)
    gradient  shape  difference  relative  at    given  true  verdict
    w         (2,)   4.0e+00     1.3e+00   (1,)  -1     3     mask
    1. mask: the mask of relu is missing
       the right rule, relu: dx = g * (out > 0)
       evidence: with this mistake w comes out as given (off by 0e+00); without it, off by 1.3e+00
    From the loss down, w is the first that is wrong.
    Reference: autograd, confirmed by finite differences.
    """
    from .judging import judge

    return judge(f, inputs, gradients, deltas or {}, rtol)


def audit_layer(
    layer: Any, inputs: Any, *, forward: str | Callable[..., Any] | None = None,
    backward: str | Callable[..., Any] | None = None,
    params: Sequence[str] | Mapping[str, Any] | None = None,
    rtol: float | None = None, seed: int = 0,
) -> AuditReport:  # fmt: skip
    """Check the backward pass of a layer written in NumPy, as it stands.

    ``layer`` is an object with ``forward(x)`` and ``backward(g)`` (or methods of the names given),
    or a forward function ``f(x, w, b)``, with ``backward`` a function too. ``inputs`` is what
    forward gets, an array or a tuple of them; integers (labels, indices) have no gradient. Its
    result, or the first of several, gets a random gradient, which is what ``backward`` is called
    with (a cache that forward returned comes after it). A layer that returns a number is a loss.

    The layer's own forward pass runs on arrays that record what is done with them, so that it may
    copy, write in place and use np.zeros. Random masks are drawn from the same state at each run,
    and the generators are put back. The layer is copied and stays as it is.

    The gradients are those that ``backward`` returns, and those of the arrays of the layer, which
    it leaves beside them: dW, grad_W, grads["W"], W_grad and the like. ``params`` names the arrays,
    or says where the gradients are, {"W": "dW"}; for a function it holds the arrays themselves,
    {"w": w, "b": b}. An update inside backward is undone: its learning rate is 1 then.

    >>> import numpy as np, tinygrad_np as tg
    >>> class Scale:
    ...     def __init__(self):
    ...         self.w = np.array([1.0, 2.0])
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * self.w
    ...     def backward(self, g):
    ...         self.dw = (g * self.x).mean(axis=0)
    ...         return g * self.w
    >>> report = tg.audit_layer(Scale(), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    >>> report["x"].right, report["w"].kind
    (True, 'factor')
    """
    from .layers import audit_a_layer

    return audit_a_layer(layer, inputs, forward, backward, params, rtol, seed)


def audit_step(
    step: Callable[..., Any], params: Any, *, lr: float | None = None,
    loss: Callable[..., Any] | None = None, rtol: float | None = None,
) -> AuditReport:  # fmt: skip
    """Check the gradients inside an update of the parameters, such as W -= lr * dW, as it stands.

    ``step`` is called once, without arguments (or with ``params``). ``params`` is what it updates:
    an object with arrays as attributes or in dicts and lists, or a dict of arrays. The gradients
    are read from the change of the arrays, which are put back. ``loss`` gives what the update is
    meant to descend, read from the same params; without it, step returns it. ``lr`` is the
    learning rate; without it, it is found, and the report's notes say what it is.

    >>> import numpy as np, tinygrad_np as tg
    >>> x, y, p = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0]), {"w": np.array(0.5)}
    >>> def train():
    ...     p["w"] = p["w"] - 0.1 * 2 * (x * (p["w"] * x - y)).mean()
    >>> report = tg.audit_step(train, p, loss=lambda: ((p["w"] * x - y) ** 2).mean())
    >>> bool(report), report.notes[0][:63]
    (True, 'The gradients are the changes of the parameters divided by 0.1,')
    """
    from .steps import audit_a_step

    return audit_a_step(step, params, lr, loss, rtol)
