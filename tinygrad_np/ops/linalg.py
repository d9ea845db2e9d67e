"""Linear algebra: products of every kind, parts of matrices, inverse, solve, determinant.

Rules for inverse, solve and determinant: M. Giles, "An extended collection of matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008).
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import case, normal, regular
from ..composites import composite
from ..definition import OPS, Value, op
from ..numpy_calls import NUMPY
from ..shapes import Shape
from ..source import said
from ..tensor import Operand, Tensor
from ..tracing import pure
from .axes import normalize_axes
from .elementwise import multiply, wide
from .reduction import products_before
from .shape import moveaxis, ravel, reshape, transpose

__all__ = [
    "det", "diagonal", "dot", "einsum", "inner", "inv", "linear", "matmul", "outer", "solve",
    "tensordot", "trace", "tril", "triu", "vdot",
]  # fmt: skip

# Matrix products

MATRICES = [
    case(normal(3, 4), normal(4, 2)), case(normal(1, 4), normal(4, 2)),
    case(normal(4), normal(4)), case(normal(4), normal(4, 2)), case(normal(3, 4), normal(4)),
    case(normal(2, 3, 4), normal(4, 2)), case(normal(3, 4), normal(2, 4, 2)),
    case(normal(2, 3, 4), normal(2, 4, 2)), case(normal(2, 1, 3, 4), normal(3, 4, 2)),
    case(normal(4), normal(2, 4, 3)), case(normal(2, 3, 4), normal(4)),
    case(normal(0, 4), normal(4, 2)), case(normal(3, 0), normal(0, 2)),
]  # fmt: skip


def _matmul_x(g: Any, x_shape: Shape, y: Any) -> Any:
    """g @ y.mT"""
    if y.ndim == 1:
        return g[..., None] * y
    if len(x_shape) == 1:
        return (y @ g[..., None])[..., 0]
    return g @ y.mT


def _matmul_y(g: Any, x: Any, y_shape: Shape) -> Any:
    """x.mT @ g"""
    if x.ndim == 1:
        return x[:, None] * g[..., None, :] if len(y_shape) > 1 else x * g
    if len(y_shape) == 1:
        return (x.mT @ g[..., None])[..., 0]
    if x.shape[-2] == 1 and x.ndim == g.ndim == 2:
        return np.dot(x.mT, g)  # an outer product: 4 to 8 times as fast as by matmul
    return x.mT @ g


@op(cases=MATRICES, numpy=np.matmul, x=_matmul_x, y=_matmul_y)
def matmul(x: Value, y: Value) -> Value:
    """The matrix product ``x @ y``; stacks of matrices broadcast, a vector counts as row or column.

    Shapes (..., n, k) and (..., k, m) give (..., n, m). Gradients: dx = g yᵀ, dy = xᵀ g.

    >>> import tinygrad_np as tg
    >>> tg.matmul(tg.Tensor([[1.0, 2.0]]), tg.Tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    # Of two matrices dot is the same, and costs half a microsecond less.
    return np.dot(x, y) if x.ndim == 2 == y.ndim else np.matmul(x, y)


@composite(
    cases=[*MATRICES[:5], case(normal(2, 3, 4), normal(5, 4, 2)), case(normal(), normal(3)),
           case(normal(2), 3.0)],
    numpy=np.dot,
)  # fmt: skip
def dot(x: Operand, y: Operand) -> Tensor:
    """NumPy's ``dot``: ``matmul`` up to two axes, then sums over x's last and y's last but one.

    >>> import tinygrad_np as tg
    >>> tg.dot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    dims = np.ndim(x), np.ndim(y)
    if 0 in dims:
        return multiply(x, y)
    if max(dims) <= 2:
        return matmul(x, y)
    return tensordot(x, y, (-1, -2 if dims[1] > 1 else -1))


@composite(cases=[case(normal(4), normal(4)), case(normal(2, 3), normal(3, 2))], numpy=np.vdot)
def vdot(x: Operand, y: Operand) -> Tensor:
    """The sum of the products of all elements, taken in order.

    >>> import tinygrad_np as tg
    >>> tg.vdot([[1.0, 2.0]], [[3.0], [4.0]]).item()
    11.0
    """
    return matmul(ravel(x), ravel(y))


@composite(
    cases=[case(normal(4), normal(4)), case(normal(2, 4), normal(3, 4)), case(normal(), normal(3))],
    numpy=np.inner,
)
def inner(x: Operand, y: Operand) -> Tensor:
    """The sums of products over the last axes of both.

    >>> import tinygrad_np as tg
    >>> tg.inner([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]).tolist()
    [[11.0, 17.0]]
    """
    if 0 in (np.ndim(x), np.ndim(y)):
        return multiply(x, y)
    return tensordot(x, y, (-1, -1))


@composite(cases=[case(normal(3), normal(4)), case(normal(2, 2), normal(3))], numpy=np.outer)
def outer(x: Operand, y: Operand) -> Tensor:
    """All products of an element of x with one of y, both flattened: shape (x.size, y.size).

    >>> import tinygrad_np as tg
    >>> tg.outer([1.0, 2.0], [3.0, 4.0]).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


@composite(
    cases=[case(normal(2, 3, 4), normal(3, 4, 5)), case(normal(2, 3), normal(3, 2), 1),
           case(normal(2, 3), normal(4), 0), case(normal(2, 3, 4), normal(4, 2), ([0, 2], [1, 0]))],
    numpy=np.tensordot,
)  # fmt: skip
def tensordot(x: Operand, y: Operand, axes: Any = 2) -> Tensor:
    """Sums of products over pairs of axes: x's last ``axes`` with y's first, or two lists.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), ([1, 2], [1, 0])).shape
    (2, 5)
    """
    dims, shapes = (np.ndim(x), np.ndim(y)), (np.shape(x), np.shape(y))
    if isinstance(axes, int | np.integer):
        first, second = list(range(dims[0] - axes, dims[0])), list(range(axes))
    else:
        first, second = (
            [normalize_axes(a, d)[0] for a in np.atleast_1d(pick).tolist()]
            for pick, d in zip(axes, dims, strict=True)
        )
    if [shapes[0][a] for a in first] != [shapes[1][a] for a in second]:
        raise ValueError(
            f"tensordot: the axes {first} of shape {shapes[0]} and {second} of shape {shapes[1]} "
            "differ in length"
        )
    rest_x = [a for a in range(dims[0]) if a not in first]
    rest_y = [a for a in range(dims[1]) if a not in second]
    shape_x, shape_y = [shapes[0][a] for a in rest_x], [shapes[1][a] for a in rest_y]
    count = math.prod([shapes[0][a] for a in first])
    left = reshape(transpose(x, [*rest_x, *first]), (math.prod(shape_x), count))
    right = reshape(transpose(y, [*second, *rest_y]), (count, math.prod(shape_y)))
    return reshape(matmul(left, right), [*shape_x, *shape_y])


def _flat(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


@op(
    cases=[case(normal(3, 4), normal(2, 4), normal(2)), case(normal(3, 4), normal(2, 4)),
           case(normal(4), normal(2, 4), normal(2)),
           case(normal(2, 3, 4), normal(2, 4), normal(2))],
    x=lambda g, weight: g @ weight,
    weight=said("g.mT @ x", lambda g, x: _flat(g).mT @ _flat(x)),
    bias=lambda g: g,
)  # fmt: skip
def linear(x: Value, weight: Value, bias: Value | None = None) -> Value:
    """The affine map x Wᵀ + b: shapes (..., in), (out, in), (out,) give (..., out), as PyTorch's.

    Gradients: dx = g W, dW = gᵀ x, db = g summed over the rows.

    >>> import tinygrad_np as tg
    >>> tg.linear(tg.Tensor([1.0, 2.0]), tg.Tensor([[1.0, 1.0]]), tg.Tensor([0.5])).tolist()
    [3.5]
    """
    try:
        out = np.matmul(x, weight.mT)
    except ValueError:
        raise ValueError(_misfit(x, weight)) from None
    if bias is None:
        return out
    total = out + bias
    if total.shape != out.shape:
        raise ValueError(f"bias of shape {bias.shape} does not fit outputs of shape {out.shape}")
    return total


def _misfit(x: Any, weight: Any) -> str:
    if weight.ndim != 2 or not x.ndim:
        return f"x has shape {x.shape}, weight {weight.shape}: they must be (..., in) and (out, in)"
    out, given = weight.shape
    advice = f"the layer before must give {given}, or this one must take {x.shape[-1]}"
    if x.shape[-1] == out and x.ndim == 1:
        advice = "the weight's shape is (out, in): is it transposed?"
    elif x.ndim == 2 and x.shape[0] == given:
        advice = "its first axis has that length, but the first axis is for the samples: write x.T"
    return f"x of shape {x.shape} has {x.shape[-1]} features, but weight takes {given}: {advice}"


# Einstein sums


def _einsum_operand(
    g: Any, i: int, operands: tuple[Any, ...], operands_shape: tuple[Shape, ...], subscripts: str
) -> Any:
    """einsum of g and the other operands

    Itself an Einstein sum: output and operand change places.

    An index that only this operand has is spread by a vector of ones, and one that it has twice
    is put on the diagonal by an identity matrix.
    """
    inputs, output = _explicit(subscripts, operands_shape)
    g, target = wide(g), inputs[i]
    terms, arrays = [output], [g]
    for k, operand in enumerate(operands):
        if k != i:
            terms.append(inputs[k])
            arrays.append(operand)
    free = iter([c for c in string.ascii_letters if c not in "".join([*inputs, output])])
    lengths: dict[str, int] = {}
    for term, array in zip(terms, arrays, strict=True):
        for index, length in zip(term, array.shape, strict=True):
            lengths[index] = max(length, lengths.get(index, 0))
    wanted = ""
    for place, index in enumerate(target):
        length = operands_shape[i][place]
        if index in wanted:
            twin = next(free)
            terms.append(index + twin)
            arrays.append(np.eye(length, dtype=g.dtype))
            wanted += twin
            continue
        if lengths.get(index) != length:  # no other term has it, or all have it with length 1
            terms.append(index)
            arrays.append(np.ones(length, g.dtype))
        wanted += index
    return np.einsum(f"{','.join(terms)}->{wanted}", *arrays)


def _explicit(subscripts: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str]:
    """The subscripts with the output written out, and letters in place of every ellipsis."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        output = "..." * ("..." in left) + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1)
        )
    free = [c for c in string.ascii_letters if c not in text]
    widths = [
        len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)
    ]
    widest = max([w for w, term in zip(widths, terms, strict=True) if "..." in term], default=0)
    dots = "".join(free[:widest])
    terms = [t.replace("...", dots[widest - w :]) for t, w in zip(terms, widths, strict=True)]
    return terms, output.replace("...", dots)


_AXES = string.ascii_uppercase + string.ascii_lowercase


def _letters(axes: Sequence[Any]) -> str:
    """A list of axes' numbers as letters, as ``np.einsum`` takes them for the same."""
    return "".join(["..." if axis is Ellipsis else _AXES[axis] for axis in axes])


def einsum(*operands: Any, optimize: Any = None) -> Tensor:
    """The Einstein sum over any number of operands, as NumPy's: repeated and summed indices too.

    Subscripts are letters, ``einsum("ij,jk->ik", a, b)``, or numbers, ``einsum(a, [0, 1], b,
    [1, 2], [0, 2])``. Gradients: Einstein sums in which the operand and the output have changed
    places. ``optimize`` is NumPy's; three operands and more are always multiplied pairwise.

    >>> import tinygrad_np as tg
    >>> tg.einsum("ii->i", tg.Tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [1.0, 4.0]
    """
    if operands and isinstance(operands[0], str):
        return _einsum(*operands)
    lists = operands[1::2] if len(operands) % 2 == 0 else (*operands[1::2], operands[-1])
    if len(operands) < 2 or not all(isinstance(axes, list | tuple) for axes in lists):
        raise TypeError(
            "einsum: write the subscripts as a text, einsum('ij,jk->ik', a, b), or as lists of "
            "numbers, einsum(a, [0, 1], b, [1, 2], [0, 2])"
        )
    inputs = ",".join(map(_letters, operands[1::2]))
    output = f"->{_letters(operands[-1])}" if len(operands) % 2 else ""
    return _einsum(inputs + output, *operands[: len(operands) // 2 * 2 : 2])


@op(
    name="einsum",
    cases=[
        case("ij,jk->ik", normal(2, 3), normal(3, 4)), case("ij,jk", normal(2, 3), normal(3, 4)),
        case("ij->", normal(2, 3)), case("ii->i", normal(3, 3)), case("ii", normal(3, 3)),
        case("iij->j", normal(2, 2, 3)), case("i,ij,j->", normal(2), normal(2, 3), normal(3)),
        case("...ij,...jk->...ik", normal(2, 2, 3), normal(3, 2)), case("ij->ji", normal(2, 3)),
        case("i...->...", normal(3, 2)), case("ij,kl->jl", normal(2, 3), normal(4, 2)),
    ],
    operands=_einsum_operand,
)  # fmt: skip
def _einsum(subscripts: str, *operands: Value) -> Value:
    """The Einstein sum of subscripts that are a text."""
    if any(x.dtype.char == "e" for x in operands):  # whose sums stop growing at 2,048 ones
        dtype = np.result_type(*operands)
        return np.einsum(subscripts, *map(wide, operands), optimize=True).astype(dtype)
    return np.einsum(subscripts, *operands, optimize=len(operands) > 2)


NUMPY[np.einsum] = OPS["einsum"].function = einsum


# Parts of matrices


@composite(
    cases=[case(normal(3, 4)), case(normal(2, 3, 4), 1, 1, 2), case(normal(3, 3), -1)],
    numpy=np.trace,
)
def trace(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of a diagonal.

    >>> import tinygrad_np as tg
    >>> tg.trace([[1.0, 2.0], [3.0, 4.0]]).item()
    5.0
    """
    return OPS["sum"].function(diagonal(x, offset, axis1, axis2), -1)


@composite(
    cases=[case(normal(3, 4)), case(normal(2, 3, 4), 1, 1, 2), case(normal(3, 3), -1)],
    numpy=np.diagonal,
)
def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements (i, i + offset) of two axes, as a new last axis. Gradient: g, put back.

    >>> import tinygrad_np as tg
    >>> tg.diagonal([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 4.0]
    """
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    down, right = max(-offset, 0), max(offset, 0)
    count = min(x.shape[-2] - down, x.shape[-1] - right)
    rows = np.arange(max(0, count))
    return OPS["getitem"].function(x, (..., rows + down, rows + right))


_BANDS = [case(normal(3, 4)), case(normal(2, 3, 3), 1)]


@op(cases=_BANDS, numpy=np.tril, x=lambda g, k: np.tril(g, k))
def tril(x: Value, k: int = 0) -> Value:
    """The part of each matrix on and below the k-th diagonal, zeros above it.

    >>> import tinygrad_np as tg
    >>> tg.tril([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 0.0], [3.0, 4.0]]
    """
    return np.tril(x, k)


@op(cases=_BANDS, numpy=np.triu, x=lambda g, k: np.triu(g, k))
def triu(x: Value, k: int = 0) -> Value:
    """The part of each matrix on and above the k-th diagonal, zeros below it.

    >>> import tinygrad_np as tg
    >>> tg.triu([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 2.0], [0.0, 4.0]]
    """
    return np.triu(x, k)


# Inverse, solve, determinant


@op(
    cases=[case(regular(3, 3)), case(regular(2, 3, 3))],
    numpy=np.linalg.inv,
    x=lambda g, out: -out.mT @ g @ out.mT,
)
def inv(x: Value) -> Value:
    """The inverse of each square matrix. Gradient: -outᵀ g outᵀ. LinAlgError if singular.

    >>> import tinygrad_np as tg
    >>> tg.inv([[2.0, 0.0], [0.0, 4.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return np.linalg.inv(x)


def _solve_b(g: Any, a: Any, b_shape: Shape) -> Any:
    """solve(a.mT, g)"""
    if len(b_shape) > 1:
        return np.linalg.solve(a.mT, g)
    return np.linalg.solve(a.mT, g[..., None])[..., 0]


def _solve_a(g: Any, a: Any, b_shape: Shape, out: Any) -> Any:
    """-solve(a.mT, g) @ out.mT"""
    back = _solve_b(g, a, b_shape)
    return -back[..., None] * out[..., None, :] if len(b_shape) == 1 else -back @ out.mT


@op(
    cases=[case(regular(3, 3), normal(3, 2)), case(regular(3, 3), normal(3)),
           case(regular(2, 3, 3), normal(2, 3, 1)), case(regular(2, 3, 3), normal(3)),
           case(regular(3, 3), normal(2, 3, 2))],
    numpy=np.linalg.solve, a=_solve_a, b=_solve_b,
)  # fmt: skip
def solve(a: Value, b: Value) -> Value:
    """The x with a @ x = b, for each square matrix a; b holds columns, or is one vector.

    Gradients: db = a⁻ᵀ g, da = -db xᵀ. Raises LinAlgError where a matrix is singular.

    >>> import tinygrad_np as tg
    >>> tg.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 8.0]).tolist()
    [1.0, 2.0]
    """
    return np.linalg.solve(a, b)


# The gradient of the determinant is the cofactor matrix, and its own gradient is made of the minors
# of second order. By way of the singular values x = u diag(s) vᵀ both are products of singular
# values, right where some are 0: nothing is divided.


@pure
def _cofactors(x: Any) -> Any:
    u, s, vt = _decomposed(x)
    return _signs(u, vt) * (u * _others(s)[..., None, :]) @ vt


@pure
def _minors(x: Any, w: Any) -> Any:
    u, s, vt = _decomposed(x)
    turned = u.mT @ w @ vt.mT
    # of row k: the products of all singular values but the k-th and each other one
    pairs = np.zeros(np.broadcast_shapes(x.shape, w.shape), x.dtype)
    for k in range(s.shape[-1]):
        rest = [i for i in range(s.shape[-1]) if i != k]
        pairs[..., k, rest] = _others(s[..., rest])
    diagonal = np.diagonal(turned, axis1=-2, axis2=-1)[..., None, :]
    inner = -pairs * turned.mT
    every = np.arange(s.shape[-1])
    inner[..., every, every] = (pairs * diagonal).sum(axis=-1)
    return _signs(u, vt) * u @ inner @ vt


def _decomposed(x: Any) -> Any:
    """The singular value decomposition; nan for matrices with nan or inf, which LAPACK refuses."""
    finite = np.isfinite(x).all(axis=(-2, -1), keepdims=True)
    u, s, vt = np.linalg.svd(np.where(finite, x, 0))
    return u, np.where(finite[..., 0], s, np.nan), vt


def _signs(u: Any, vt: Any) -> Any:
    """The determinant, 1 or -1, of both rotations of a singular value decomposition."""
    return np.sign(np.linalg.det(u) * np.linalg.det(vt))[..., None, None]


def _others(s: Any) -> Any:
    """For each element along the last axis, the product of all others."""
    return products_before(s) * np.flip(products_before(np.flip(s, -1)), -1)


@op(
    cases=[case(regular(3, 3)), case(regular(2, 2, 2))],
    analytic=False, x=lambda g, x: OPS["minors"](x, g),
)  # fmt: skip
def cofactors(x: Value) -> Value:
    """Each square matrix's cofactor matrix, det(x) x⁻ᵀ: the gradient of its determinant.

    It is right for singular matrices, too. Gradient: see ``minors``.

    >>> cofactors(np.array([[1.0, 2.0], [2.0, 4.0]])).data.round(12).tolist()
    [[4.0, -2.0], [-2.0, 1.0]]
    """
    return _cofactors(x)


def _minors_x(g: Any, x: Any, w: Any) -> Any:
    """the derivative of minors(x, w), times g"""
    c = np.linalg.inv(x).mT
    cw = c @ w.mT @ c
    cg = c @ g.mT @ c
    first = _total(c * w)
    second = _total(c * g)
    sums = (first * second - _total(cw * g)) * c - first * cg - second * cw
    return OPS["det"](x)[..., None, None] * (sums + cw @ g.mT @ c + cg @ w.mT @ c)


def _total(x: Any) -> Any:
    return x.sum(axis=(-2, -1), keepdims=True)


@op(
    cases=[case(regular(3, 3), normal(3, 3)), case(regular(2, 2, 2), normal(2, 2, 2))],
    analytic=False, x=_minors_x, w=lambda g, x: OPS["minors"](x, g),
)  # fmt: skip
def minors(x: Value, w: Value) -> Value:
    """The gradient of sum(w · cofactors(x)) by x: sums of w times minors of second order.

    With c the inverse's transpose it is det(x) (sum(c w) c - c wᵀ c). It is right for singular
    matrices, too; its own gradient by x raises LinAlgError there.

    >>> minors(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[4.0, -3.0], [-2.0, 1.0]]
    """
    return _minors(x, w)


@op(
    cases=[case(regular(3, 3)), case(regular(2, 2, 2))], numpy=np.linalg.det,
    x=lambda g, x: g[..., None, None] * OPS["cofactors"](x),
)  # fmt: skip
def det(x: Value) -> Value:
    """The determinant of each square matrix.

    Gradient: g times the cofactor matrix, which is det(x) x⁻ᵀ where x has an inverse. First and
    second derivatives are right for singular matrices, too.

    >>> import tinygrad_np as tg
    >>> round(tg.det([[1.0, 2.0], [3.0, 4.0]]).item(), 10)
    -2.0
    """
    return np.linalg.det(x)
