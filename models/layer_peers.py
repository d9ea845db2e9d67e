"""Every layer function compared with PyTorch's: values, gradients, second derivatives.

It needs PyTorch (the extra "peers"). Each function gets the inputs of ``models.layer_inputs``.
Errors are relative to the largest number compared, or to 1. Where PyTorch gives nan or an error, an
error of ours is right; where it has no second derivative, none is compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import tinygrad_np as tg
from tinygrad_np import nn

from .layer_inputs import CALLS, UNARY, Fixed

# PyTorch keeps 1 / 6 and 1 / alpha in float32, also for float64.
ROUNDED = {"hardsigmoid": 1e-7, "celu": 1e-7}
LIMITS = {"value": 1e-10, "first": 1e-10, "second": 1e-8, "float32": 1e-5}


def ours_multihead(*args: Any, heads: int, mask: Any, padding: Any) -> Any:
    q, k, v, weight, bias, out_weight, out_bias = args
    layer = nn.MultiheadAttention(4, heads, rng=0)
    layer.in_proj_weight, layer.in_proj_bias = weight, bias
    layer.out_proj.weight, layer.out_proj.bias = out_weight, out_bias
    return layer(q, k, v, padding, attn_mask=mask)


def torch_multihead(*args: Any, heads: int, mask: Any, padding: Any) -> Any:
    q, k, v, weight, bias, out_weight, out_bias = args
    return F.multi_head_attention_forward(
        q, k, v, 4, heads, weight, bias, None, None, False, 0.0, out_weight, out_bias,
        key_padding_mask=padding, attn_mask=mask, need_weights=True,
    )  # fmt: skip


def with_statistics(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's result and the running statistics, which it changes in place."""

    def run(x: Any, mean: Any = None, var: Any = None, *args: Any, **kwargs: Any) -> Any:
        copies = [None if s is None else s.copy() if isinstance(s, np.ndarray) else s.clone()
                  for s in (mean, var)]  # fmt: skip
        return function(x, *copies, *args, **kwargs), *[s for s in copies if s is not None]

    return run


OURS: dict[str, Callable[..., Any]] = {
    "MultiheadAttention": ours_multihead, "batch_norm": with_statistics(tg.batch_norm),
    "instance_norm": with_statistics(tg.instance_norm),
}  # fmt: skip
THEIRS: dict[str, Callable[..., Any]] = {
    "MultiheadAttention": torch_multihead, "batch_norm": with_statistics(F.batch_norm),
    "instance_norm": with_statistics(F.instance_norm), "log_sigmoid": F.logsigmoid,
    "erf": torch.erf, "sigmoid": torch.sigmoid, "logsumexp": torch.logsumexp,
    "upsample": lambda x, **k: F.interpolate(x, **k),
}  # fmt: skip
WORDS = {"axis": "dim", "keepdims": "keepdim"}


# The comparison


def ours(name: str, args: Sequence[Any], kwargs: Any, dtype: Any) -> tuple[list[Any], list[Any]]:
    """Our results and the inputs to differentiate by."""
    leaves: list[tg.Tensor] = []

    def made(value: Any) -> Any:
        if isinstance(value, Fixed):
            return value.array.astype(dtype) if value.array.dtype.kind == "f" else value.array
        if isinstance(value, np.ndarray | np.floating):
            leaves.append(tg.Tensor(np.array(value, dtype), requires_grad=True))
            return leaves[-1]
        return value

    function = OURS.get(name) or getattr(tg, name)
    out = function(*map(made, args), **{key: made(value) for key, value in kwargs.items()})
    return list(out) if isinstance(out, tuple) else [out], leaves


def theirs(name: str, args: Sequence[Any], kwargs: Any, dtype: Any) -> tuple[list[Any], list[Any]]:
    """PyTorch's results and the inputs to differentiate by."""
    leaves: list[Any] = []

    def made(value: Any) -> Any:
        if isinstance(value, Fixed):
            tensor = torch.tensor(value.array)
            return tensor.to(dtype) if tensor.is_floating_point() else tensor
        if isinstance(value, np.ndarray | np.floating):
            leaves.append(torch.tensor(value, dtype=dtype, requires_grad=True))
            return leaves[-1]
        return value

    function = THEIRS.get(name) or getattr(F, name)
    given = {WORDS.get(key, key): made(value) for key, value in kwargs.items()}
    out = function(*map(made, args), **given)
    return list(out) if isinstance(out, tuple) else [out], leaves


def error(one: Any, other: Any, nan_is_any: bool = False) -> float:
    """The largest difference, relative to the largest number or 1; inf for other shapes.

    ``nan_is_any``: where the other is nan, anything will do.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        return np.inf
    same = (one == other) | np.isnan(other) & (nan_is_any | np.isnan(one))
    if same.all():
        return 0.0
    size = max(1.0, float(np.abs(other[np.isfinite(other)]).max(initial=0)))
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(one - other)[~same], nan=np.inf).max()) / size


def derivatives_of_ours(
    outs: list[Any], leaves: list[Any], weights: list[Any], directions: list[Any], second: bool
) -> tuple[list[Any], list[Any]]:
    kept = [(out, w) for out, w in zip(outs, weights, strict=True)
            if isinstance(out, tg.Tensor) and out.requires_grad]  # fmt: skip
    if not kept or not leaves:
        return [], []
    outs, weights = map(list, zip(*kept, strict=True))
    made = [tg.Tensor(w.astype(out.dtype), requires_grad=True) for out, w in kept]
    first = tg.grad(outs, leaves, made, create_graph=second, allow_unused=True)
    if not second:
        return [g.data for g in first], []
    total: Any = 0.0
    for g, d in zip(first, directions, strict=True):
        total = total + (g * d).sum()
    if not total.requires_grad:
        return [g.data for g in first], []
    more = tg.grad([total], [*leaves, *made], allow_unused=True)
    return [g.data for g in first], [g.data for g in more]


def derivatives_of_theirs(
    outs: list[Any], leaves: list[Any], weights: list[Any], directions: list[Any], second: bool
) -> tuple[list[Any], list[Any]]:
    def arrays(gradients: Any, like: Any) -> list[Any]:
        return [np.zeros(tuple(t.shape)) if g is None else plain(g)
                for g, t in zip(gradients, like, strict=True)]  # fmt: skip

    kept = [(out, w) for out, w in zip(outs, weights, strict=True) if out.requires_grad]
    if not kept or not leaves:
        return [], []
    outs, made = (
        [o for o, _ in kept],
        [torch.tensor(w, dtype=o.dtype, requires_grad=True) for o, w in kept],
    )
    try:
        first = torch.autograd.grad(outs, leaves, made, create_graph=second, allow_unused=True)
    except RuntimeError:  # of PyTorch's own, for some empty arrays
        return [], []
    if not second:
        return arrays(first, leaves), []
    total = sum(
        (g * torch.tensor(d)).sum()
        for g, d in zip(first, directions, strict=True) if g is not None
    )  # fmt: skip
    if not isinstance(total, torch.Tensor) or not total.requires_grad:
        return arrays(first, leaves), []
    try:
        more = torch.autograd.grad(total, [*leaves, *made], allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return arrays(first, leaves), []
    return arrays(first, leaves), arrays(more, [*leaves, *made])


def plain(out: Any) -> Any:
    if isinstance(out, torch.Tensor):
        return out.detach().numpy(force=True)
    return out.data if isinstance(out, tg.Tensor) else out


def compare(name: str, args: Sequence[Any], kwargs: Any) -> dict[str, float]:
    """The errors of one call; none where both refuse it."""
    found: dict[str, float] = {}
    exact: list[Any] | None = None
    args = [a.astype(np.float32).astype(float) if isinstance(a, np.ndarray) else a for a in args]
    for dtype in (np.float64, np.float32):
        refused: Exception | None = None
        try:
            our_outs, our_leaves = ours(name, args, kwargs, dtype)
        except (ValueError, IndexError, TypeError) as exception:
            refused = exception
        try:
            their_outs, their_leaves = theirs(name, args, kwargs, getattr(torch, dtype.__name__))
        except (RuntimeError, ValueError, IndexError):
            return found if refused else {"value": np.inf}
        if refused:
            if all(torch.isnan(out).all() for out in their_outs):
                return found
            raise refused
        rng = np.random.default_rng(1)
        shapes = [np.shape(plain(out)) for out in our_outs]
        values = max(map(error, map(plain, our_outs), map(plain, their_outs)), default=0.0)
        if dtype is np.float32 and any(plain(o).dtype == np.float64 for o in our_outs):
            values = np.inf
        weights = [rng.normal(size=shape) for shape in shapes]
        directions = [rng.normal(size=leaf.shape) for leaf in our_leaves]
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        if name in UNARY | {"erf": {}} and not all(np.isfinite(a).all() for a in arrays):
            return {"value": values}
        second = dtype is np.float64 and all(a.all() for a in arrays)  # at 0 lie kinks
        mine = derivatives_of_ours(our_outs, our_leaves, weights, directions, second)
        other = derivatives_of_theirs(their_outs, their_leaves, weights, directions, second)
        first = max(map(error, mine[0], other[0] or mine[0]), default=0.0)
        if dtype is np.float32:
            results = [*map(plain, our_outs), *mine[0]], [*map(plain, their_outs), *other[0]]
            found["float32"] = max(values, first)
            if found["float32"] > LIMITS["float32"] and exact is not None:
                # Both are off: what counts is that ours is the nearer one to the truth.
                near, far = (max(map(error, r, exact)) for r in results)
                found["float32"] = near if near > far else min(near, LIMITS["float32"])
        else:
            found["value"], found["first"] = values, first
            exact = [*map(plain, their_outs), *other[0]]
            if other[1]:
                ours_second = mine[1] or [np.zeros(g.shape) for g in other[1]]
                found["second"] = max(map(error, ours_second, other[1], [True] * len(other[1])))
    return found


def worst(name: str) -> dict[str, tuple[float, str]]:
    """The largest error of each kind over all inputs of a function, and the inputs it is at."""
    found: dict[str, tuple[float, str]] = {}
    exact = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with np.errstate(all="ignore"), exact, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for args, kwargs in CALLS[name]:
            shown = [a.array if isinstance(a, Fixed) else a for a in args]
            shown = [a.shape if isinstance(a, np.ndarray) else a for a in shown]
            for column, size in compare(name, args, kwargs).items():
                if column not in found or not size <= found[column][0]:
                    found[column] = size, f"{shown} {kwargs}"
    return found


def wrong(name: str, found: dict[str, tuple[float, str]]) -> list[str]:
    """The errors above their limits, in words."""
    return [
        f"{column} differs by {size:.1e}: {where}"
        for column, (size, where) in found.items()
        if not size <= max(LIMITS[column], ROUNDED.get(name, 0.0))
    ]
