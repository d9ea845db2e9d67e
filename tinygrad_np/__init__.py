"""tinygrad_np: reverse-mode automatic differentiation on NumPy, small and proven.

>>> import tinygrad_np as tg
>>> W = tg.Tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True, name="W")
>>> loss = tg.softmax_cross_entropy([[1.0, 2.0]] @ W, [1])
>>> loss.backward()
>>> W.grad.round(4)
array([[ 0.2689, -0.2689],
       [ 0.5379, -0.5379]])
"""

from . import data, linalg, nn, optim, random
from .autodiff import checkpoint, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .cases import case
from .graph import GraphReleasedError, enable_grad, is_recording, no_grad
from .op import OPS, Op, composite, op, ufunc
from .ops.activation import (
    elu, gelu, leaky_relu, log_sigmoid, log_softmax, relu, sigmoid, silu, softmax, softplus,
)  # fmt: skip
from .ops.elementwise import (
    abs, add, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, astype, bitwise_and, bitwise_or, cbrt, clip, cos,
    cosh, divide, equal, exp, exp2, expm1, floor_divide, greater, greater_equal, hypot, invert, isfinite,
    isnan, less, less_equal, log, log1p, log2, log10, logaddexp, logical_and, logical_not,
    logical_or, maximum, minimum, multiply, negative, not_equal, power, reciprocal, remainder,
    sign, sin, sinh, sqrt, square, subtract, tan, tanh, where,
)  # fmt: skip
from .ops.elementwise import positive_ as positive
from .ops.indexing import getitem, scatter, sort, take, take_along_axis
from .ops.layer import linear
from .ops.linalg import (
    det, diagonal, dot, einsum, inner, inv, matmul, outer, solve, tensordot, trace, tril, triu, vdot,
)  # fmt: skip
from .ops.loss import binary_cross_entropy_with_logits, mse_loss, softmax_cross_entropy
from .ops.reduction import (
    all, any, argmax, argmin, cumprod, cumsum, linear_recurrence, logsumexp, max, mean, min, norm,
    prod, std, sum, var,
)  # fmt: skip
from .ops.shape import (
    broadcast_to, concatenate, expand_dims, flip, hstack, moveaxis, pad, ravel, repeat, reshape,
    roll, split, squeeze, stack, swapaxes, tile, transpose, vstack,
)  # fmt: skip
from .random import dropout, manual_seed
from .tensor import Tensor

__version__ = "0.1.0"

__all__ = [name for name in dir() if not name.startswith("_")]
