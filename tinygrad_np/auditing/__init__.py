"""The audit compares gradients derived by hand with autograd's, and names the mistakes.

``judging`` does the work; it is imported at the first call. ``trace`` runs f and keeps its graph.
``passes`` runs the backward pass, with deliberate mistakes in it. ``problem`` compares gradients
and lists the possible mistakes. ``sweep`` estimates the effect of every one of them, ``search``
finds the fewest that explain the given gradients, and ``findings`` writes the ``report``.

Each kind of mistake has a module: ``factors``, ``masks``, ``derivatives`` (with the ``units`` of a
graph), ``sums``, ``values``, ``paths`` and ``shapes``. ``loops`` repeats a mistake at every turn of
a loop, ``kinks`` accepts the slope of either side of a kink, and ``elements`` describes what no
mistake explains. ``layers`` and ``steps`` read gradients out of the ``objects`` of existing NumPy
code, which runs on ``recording`` arrays. ``watching`` finds the wrong lines of a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..tensor import Tensor
from .report import AuditReport as AuditReport
from .report import Diagnosis as Diagnosis
from .report import Verdict as Verdict

Arrays = Mapping[str, Any] | Sequence[Any] | ArrayLike | Tensor


def audit(
    f: Callable[..., Any], inputs: Arrays, gradients: Arrays | Callable[..., Arrays] | None = None,
    *, deltas: Mapping[str, ArrayLike | Tensor] | None = None, rtol: float | None = None,
) -> AuditReport:  # fmt: skip
    """Check gradients derived by hand, and name the mistakes in them.

    ``inputs`` are arrays or Tensors of real numbers: a mapping for ``f(**inputs)``, a tuple or list
    for ``f(*inputs)``, or a single array for ``f(inputs)``. f returns a scalar Tensor.
    ``gradients`` are your gradients of these inputs, in the same form, or a function that returns
    them; it is called as f is, with arrays. Leave a name out of a mapping, or give None, where you
    have no gradient. ``deltas`` are derivatives of f by intermediate Tensors. Their names are those
    that f gives (``z.name = "z1"``) or returns, ``(loss, {"z1": z1})``. The audit computes in
    float64.

    The audit compares each gradient with autograd's, and autograd's with a numerical derivative
    along a random direction. A gradient is right if no element is farther off than ``rtol`` times
    the largest element. The default is 1e-7, or 1e-4 if the gradient or the input is float32.
    (A gradient that cancels to zero is measured against the other gradients.) A right gradient
    stays right, whatever is wrong elsewhere. At a kink (relu at 0, ties of a maximum) the
    derivative of either side is right, and so is a gradient that ignores an epsilon in f; the
    report's ``notes`` say so.

    If gradients are wrong, the audit runs the backward pass again with deliberate mistakes. It
    reports the fewest mistakes that reproduce your gradients, in the whole backward pass or in one
    gradient alone. If several explanations are equally good, it reports the first of these kinds
    and mentions the others:

    - "factor": a constant factor. The audit names 2, ½, the batch size, a root of the width, the
      1 − p of a dropout, and their inverses and products. A mean in place of a sum is a factor, and
      so is a lost use of x in x * x. The factor −1 is a
    - "sign", and so are forgotten signs of single elements;
    - "transpose": of the gradient, of a part of it, or of a matrix in a rule; a reshape in place of
      a transpose;
    - "mask": the mask of a relu or a dropout is missing, inverted or one too many, or relu is
      applied to the gradient;
    - "path": one use of a Tensor with several uses is missing, or some turns of a loop, or what
      comes back through time, or everything more than a few steps back; indices or windows that
      should add up overwrite each other; a regularisation that f does not have;
    - "derivative": it is missing, multiplied twice, that of another function, or the function
      itself stands in its place;
    - "sum": a sum is missing, one too many, over the wrong axis or over one row only; the diagonal
      alone of softmax's Jacobian; an inner in place of an outer product;
    - "value": a rule reads another array than it should, as in σ'(σ(x)) or 1 − (mask · h)², or
      weights after their update; the gradient is that of another input; windows without their
      stride;
    - "elements": a few elements, one row or one column are wrong, or rows are 0, or large elements
      are clipped;
    - "shape": the right numbers in another shape; "nan": nan or inf in the gradient;
    - "autograd": autograd and the numerical derivative differ: a rule of f's own ops is wrong;
    - "unknown": none of the mistakes above; the report says what can be seen.

    The report names the source line of each op in f. If ``gradients`` is a function, the report
    also names the line of it at which each mistake shows first.

    f may also be NumPy code that copies arrays and writes to them in place. For layers and updates
    as they stand, see ``audit_layer`` and ``audit_step``.

    Raises TypeError for integer inputs and if f does not return a Tensor. Raises ValueError if the
    result of f is not a scalar, is nan or infinite, changes from call to call, or does not depend
    on the inputs; for inputs of length 0; and if gradients or deltas do not match the inputs.

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
    or a forward function ``f(x, w, b)`` with a ``backward`` function. ``inputs`` are the arguments
    of forward: an array or a tuple. Integers (labels, indices) have no gradient. The audit calls
    ``backward`` with a random gradient of the result of forward, or of the first result if there
    are several, followed by the cache if forward returns one. A layer that returns a number is a
    loss, and its gradient is 1.

    The layer's own forward pass runs on arrays that record what is done with them, so it may copy
    arrays, write to them in place and use np.zeros. Random masks are the same in every run, and the
    random generators keep their state. The audit works on a copy; the layer does not change.

    The audit takes the gradients that ``backward`` returns, and those that it leaves in the layer
    beside their arrays: dW, grad_W, grads["W"], W_grad and the like. ``params`` selects arrays by
    name, or says where their gradients are, {"W": "dW"}. For a function it holds the arrays
    themselves, {"w": w, "b": b}. If backward updates the arrays, the audit reads the gradients from
    the change; a learning rate among the arguments of backward is 1. For each mistake the report
    names the line of ``backward`` at which it shows first.

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
    """Check the gradients inside an update such as W -= lr * dW, as it stands.

    The audit calls ``step`` once, without arguments or with ``params``. ``params`` holds the arrays
    that the step updates: an object with arrays in attributes, dicts or lists, or a dict of arrays.
    The audit reads the gradients from the change of the arrays and then restores the arrays.
    ``loss`` returns the loss that the update should decrease, computed from the same params.
    Without it, step must return the loss. ``lr`` is the learning rate. Without it the audit finds
    the rate, and the notes of the report say which one.

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
