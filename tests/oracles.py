"""Every op's result computed another way: by NumPy in extended precision, or by another formula.

An oracle gets the arguments of a sample call as ndarrays, the floating ones in extended precision.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.layer_oracles import LAYERS

Array = Any
Oracle = Callable[..., Any]


def _positions(shape: tuple[int, ...], index: Any) -> Array:
    """The flat places that an index picks from an array of this shape."""
    return np.arange(math.prod(shape)).reshape(shape)[index]


def _scatter(g: Array, index: Any, shape: tuple[int, ...]) -> Array:
    out = np.zeros(math.prod(shape), g.dtype)
    places = _positions(shape, index)
    for place, value in zip(places.ravel(), np.broadcast_to(g, places.shape).ravel(), strict=True):
        out[place] += value
    return out.reshape(shape)


def _recurrence(a: Array, b: Array) -> Array:
    out = np.zeros_like(b)
    for lane in np.ndindex(b.shape[:-1]):
        value = 0
        for k in range(b.shape[-1]):
            value = a[lane][k] * value + b[lane][k]
            out[lane][k] = value
    return out


def _determinant(x: Array) -> Array:
    """Leibniz's formula."""
    n = x.shape[-1]
    total = np.zeros(x.shape[:-2], x.dtype)
    for order in itertools.permutations(range(n)):
        inversions = sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
        term = np.ones(x.shape[:-2], x.dtype)
        for i, j in enumerate(order):
            term = term * x[..., i, j]
        total = total + (-1) ** inversions * term
    return total


def _cofactors(x: Array) -> Array:
    """Laplace's: the determinants of what is left without a row and a column."""
    out = np.empty_like(x)
    for i, j in np.ndindex(x.shape[-2:]):
        left = np.delete(np.delete(x, i, -2), j, -1)
        out[..., i, j] = (-1) ** (i + j) * _determinant(left)
    return out


def _minors(x: Array, w: Array) -> Array:
    """Each cofactor's change along w, by the cofactors of its own matrix."""
    out = np.empty_like(x)
    n = x.shape[-1]
    for i, j in np.ndindex(n, n):
        left = np.delete(np.delete(x, i, -2), j, -1)
        inner = np.delete(np.delete(w, i, -2), j, -1)
        change = _cofactors(left) * inner if n > 1 else np.zeros_like(left)
        out[..., i, j] = (-1) ** (i + j) * change.sum(axis=(-2, -1))
    return out


def _solve(a: Array, b: Array) -> Array:
    """Cramer's rule."""
    columns = b[..., None] if b.ndim == 1 else b
    shape = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    a, columns = (np.broadcast_to(m, (*shape, *m.shape[-2:])) for m in (a, columns))
    out = np.empty(columns.shape, a.dtype)
    for i in range(a.shape[-1]):
        for j in range(columns.shape[-1]):
            swapped = a.copy()
            swapped[..., :, i] = columns[..., :, j]
            out[..., i, j] = _determinant(swapped) / _determinant(a)
    return out[..., 0] if b.ndim == 1 else out


def _counted_cross_entropy(
    logits: Array, labels: Array, ignore_index: int, reduction: str = "mean"
) -> Array:
    counted = labels != ignore_index
    kept = np.where(counted, _cross_entropy(logits, labels, "none"), 0)
    return kept.sum() / counted.sum() if reduction == "mean" else _reduced(kept, reduction)


def _cross_entropy(logits: Array, labels: Array, reduction: str = "mean") -> Array:
    rows = logits.reshape(-1, logits.shape[-1])
    truth = np.eye(rows.shape[-1])[labels] if labels.ndim < logits.ndim else labels
    losses = [
        -sum(t * (v - np.log(np.sum(np.exp(row)))) for t, v in zip(target, row, strict=True))
        for row, target in zip(rows, truth.reshape(rows.shape), strict=True)
    ]
    return _reduced(np.array(losses).reshape(logits.shape[:-1]), reduction)


def _binary_cross_entropy(
    logits: Array, targets: Array, reduction: str = "mean", weight: Any = 1.0, pos_weight: Any = 1.0
) -> Array:
    p = 1 / (1 + np.exp(-logits))
    losses = -(pos_weight * targets * np.log(p) + (1 - targets) * np.log(1 - p))
    return _reduced(weight * losses, reduction)


def _reduced(losses: Array, reduction: str) -> Array:
    reductions: dict[str, Oracle] = {"mean": np.mean, "sum": np.sum, "none": np.asarray}
    return reductions[reduction](losses)


def _norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    if ord == np.inf:
        return np.abs(x).max(axis=axis, keepdims=keepdims)
    p = 2 if ord in (None, "fro") else ord
    return np.power(np.power(np.abs(x), p).sum(axis=axis, keepdims=keepdims), np.longdouble(1) / p)


def _dropout(x: Array, p: float = 0.5, training: bool = True, rng: Any = None) -> Array:
    if not training or p == 0:
        return x
    return np.where(np.random.default_rng(rng).random(x.shape) < p, 0, x / (1 - np.longdouble(p)))


ORACLES: dict[str, Oracle] = {
    # Elementwise, by another formula where NumPy computes the op itself
    "subtract": lambda x, y: x + -1 * y,
    "square": lambda x: x * x,
    "reciprocal": lambda x: x**-1,
    "negative": lambda x: 0 - x,
    "average_over_ranks": lambda x: x,  # of one rank
    "floor_divide": lambda x, y: np.floor(x / y),
    "remainder": lambda x, y: x - np.floor(x / y) * y,
    "sqrt": lambda x: np.exp(np.log(x) / 2),
    "cbrt": lambda x: np.sign(x) * np.exp(np.log(np.abs(x)) / 3),
    "exp2": lambda x: np.exp(x * np.log(np.longdouble(2))),
    "expm1": lambda x: np.exp(x) - 1,
    "log2": lambda x: np.log(x) / np.log(np.longdouble(2)),
    "log10": lambda x: np.log(x) / np.log(np.longdouble(10)),
    "log1p": lambda x: np.log(1 + x),
    "logaddexp": lambda x, y: np.log(np.exp(x) + np.exp(y)),
    "tan": lambda x: np.sin(x) / np.cos(x),
    "sinh": lambda x: (np.exp(x) - np.exp(-x)) / 2,
    "cosh": lambda x: (np.exp(x) + np.exp(-x)) / 2,
    "tanh": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    "arcsinh": lambda x: np.sign(x) * np.log(np.abs(x) + np.sqrt(x * x + 1)),
    "arccosh": lambda x: np.log(x + np.sqrt(x * x - 1)),
    "arctanh": lambda x: np.log((1 + x) / (1 - x)) / 2,
    "hypot": lambda x, y: np.sqrt(x * x + y * y),
    "abs": lambda x: np.sqrt(x * x),
    "zero_with_slope": lambda x, slope: x * slope,
    "maximum": lambda x, y: (x + y + np.abs(x - y)) / 2,
    "minimum": lambda x, y: (x + y - np.abs(x - y)) / 2,
    "where": lambda condition, x, y: condition * x + ~condition * y,
    "clip": lambda x, a_min=None, a_max=None: np.minimum(
        np.maximum(x, -np.inf if a_min is None else a_min), np.inf if a_max is None else a_max
    ),
    "astype": lambda x, dtype: x,
    # Reductions
    "mean": lambda x, axis=None, keepdims=False: np.true_divide(
        x.sum(axis=axis, keepdims=True), x.size / np.sum(x, axis=axis).size
    ).reshape(np.sum(x, axis=axis, keepdims=keepdims).shape),
    "logsumexp": lambda x, axis=None, keepdims=False: np.log(
        np.sum(np.exp(x), axis=axis, keepdims=keepdims)
    ),
    "linear_recurrence": _recurrence,
    "norm": _norm,
    # Linear algebra
    "matmul": lambda x, y: np.einsum(
        f"...{'ij' if x.ndim > 1 else 'j'},...{'jk' if y.ndim > 1 else 'j'}->..."
        f"{'i' * (x.ndim > 1)}{'k' * (y.ndim > 1)}",
        x, y,
    ),
    "inv": lambda x: _solve(x, np.broadcast_to(np.eye(x.shape[-1]), x.shape)),
    "solve": _solve,
    "det": _determinant,
    "cofactors": _cofactors,
    "minors": _minors,
    # Shape and indexing
    "joined": lambda *arrays, axis=0: np.concatenate(arrays, axis),
    "padded": lambda x, pad_width, constant_values=0: np.pad(
        x, pad_width, constant_values=constant_values
    ),
    "getitem": lambda x, index: x.ravel()[_positions(x.shape, index)],
    "scatter": _scatter,
    # Activations, losses, layers
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "log_sigmoid": lambda x: -np.log(1 + np.exp(-x)),
    "relu": lambda x: x * (x > 0),
    "leaky_relu": lambda x, slope=0.01: np.maximum(x, 0) + slope * np.minimum(x, 0),
    "elu": lambda x, alpha=1.0: np.maximum(x, 0) + alpha * (np.exp(np.minimum(x, 0)) - 1),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x, beta=1, threshold=20: np.where(
        x * beta > threshold, x, np.log(1 + np.exp(beta * x)) / beta
    ),
    "softmax": lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True),
    "log_softmax": lambda x, axis=-1: np.log(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)),
    "softmax_cross_entropy": _cross_entropy,
    "cross_entropy_of_counted": _counted_cross_entropy,
    "binary_cross_entropy_with_logits": _binary_cross_entropy,
    "mse_loss": lambda p, t, reduction="mean": _reduced((p - t) ** 2, reduction),
    "linear": lambda x, weight, bias=0: np.einsum("...i,oi->...o", x, weight) + bias,
    "masked": lambda x, mask, p: np.where(mask, x / (1 - np.longdouble(p)), 0),
    "dropout": _dropout,
}  # fmt: skip


def oracle(name: str) -> Oracle:
    """The oracle of an op: of this table, else NumPy's function of the same name."""
    found: Oracle | None = ORACLES.get(name) or LAYERS.get(name) or getattr(np, name, None)
    if found is None:
        raise LookupError(f"op {name!r} has no oracle: add one to tests/oracles.py")
    return found
