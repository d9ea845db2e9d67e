"""What layers compute: convolutions and pooling by loops, the rest by another formula."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Array = Any


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if np.ndim(value) else (value,) * axes


def _reduced(losses: Array, reduction: str = "mean") -> Array:
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)  # type: ignore[operator]


# Windows


def _visits(
    size: Any, kernel: Any, stride: Any, pads: Any, dilation: Any, out: Any = None
) -> Iterator[tuple[Any, Any, Any]]:
    """Every output, place in its window, and place in the image that lies there."""
    if out is None:
        out = [
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, stride, pads, dilation, strict=True)
        ]
    for o in itertools.product(*map(range, out)):
        for k in itertools.product(*map(range, kernel)):
            geometry = zip(o, k, stride, pads, dilation, strict=True)
            place = tuple(i * s + j * d - p[0] for i, j, s, p, d in geometry)
            if all(0 <= i < n for i, n in zip(place, size, strict=True)):
                yield o, k, place


def _count(size: Any, kernel: Any, stride: Any, pads: Any, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, pads, dilation, strict=True)
    )


def _convolution(
    x: Array, weight: Array, bias: Array, stride: Any, pads: Any, dilation: Any, groups: int = 1
) -> Array:
    kernel, size = weight.shape[2:], x.shape[2:]
    out = np.zeros((len(x), len(weight), *_count(size, kernel, stride, pads, dilation)), x.dtype)
    inputs, outputs = weight.shape[1], len(weight) // groups
    for f in range(len(weight)):
        own = slice(f // outputs * inputs, (f // outputs + 1) * inputs)
        for o, k, i in _visits(size, kernel, stride, pads, dilation):
            part = x[(slice(None), own, *i)] * weight[(f, slice(None), *k)]
            out[(slice(None), f, *o)] += part.sum(axis=1)
    return out if bias is None else out + bias.reshape(-1, *(1,) * len(size))


def _input(
    y: Array, weight: Array, size: Any, stride: Any, pads: Any, dilation: Any, groups: int = 1
) -> Array:
    kernel = weight.shape[2:]
    out = np.zeros((len(y), weight.shape[1] * groups, *size), y.dtype)
    inputs, outputs = weight.shape[1], len(weight) // groups
    for f in range(len(weight)):
        own = slice(f // outputs * inputs, (f // outputs + 1) * inputs)
        for o, k, i in _visits(size, kernel, stride, pads, dilation, y.shape[2:]):
            out[(slice(None), own, *i)] += (
                y[(slice(None), f, *o)][:, None] * weight[(f, slice(None), *k)]
            )
    return out


def _weight(
    y: Array, x: Array, kernel: Any, stride: Any, pads: Any, dilation: Any, groups: int = 1
) -> Array:
    inputs, outputs = x.shape[1] // groups, y.shape[1] // groups
    out = np.zeros((y.shape[1], inputs, *kernel), y.dtype)
    for f in range(y.shape[1]):
        own = slice(f // outputs * inputs, (f // outputs + 1) * inputs)
        for o, k, i in _visits(x.shape[2:], kernel, stride, pads, dilation, y.shape[2:]):
            part = y[(slice(None), f, *o)][:, None] * x[(slice(None), own, *i)]
            out[(f, slice(None), *k)] += part.sum(axis=0)
    return out


def _batched(axes: int, function: Callable[..., Array]) -> Callable[..., Array]:
    def call(x: Array, *args: Any, **kwargs: Any) -> Array:
        if x.ndim == axes + 1:
            return function(axes, x[None], *args, **kwargs)[0]
        return function(axes, x, *args, **kwargs)

    return call


def _conv(
    axes: int, x: Array, weight: Array, bias: Array = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Array:  # fmt: skip
    stride, dilation = _each(stride, axes), _each(dilation, axes)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        pads: Any = [(t // 2, t - t // 2) for t in totals]
    else:
        pads = [(p, p) for p in _each(padding, axes)]
    return _convolution(x, weight, bias, stride, pads, dilation, groups)


def _conv_transpose(
    axes: int, x: Array, weight: Array, bias: Array = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Array:  # fmt: skip
    stride, dilation = _each(stride, axes), _each(dilation, axes)
    pads, more = _each(padding, axes), _each(output_padding, axes)
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, k, s, p, d, m in zip(
            x.shape[2:], weight.shape[2:], stride, pads, dilation, more, strict=True
        )
    )
    y = _input(x, weight, size, stride, [(p, p) for p in pads], dilation, groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _unfolded(x: Array, kernel: Any, stride: Any, pads: Any, dilation: Any) -> Array:
    out = _count(x.shape[2:], kernel, stride, pads, dilation)
    y = np.zeros((*x.shape[:2], *kernel, *out), x.dtype)
    for o, k, i in _visits(x.shape[2:], kernel, stride, pads, dilation):
        y[(slice(None), slice(None), *k, *o)] = x[(slice(None), slice(None), *i)]
    return y.reshape(len(x), x.shape[1] * math.prod(kernel), -1)


def _folded(y: Array, size: Any, kernel: Any, stride: Any, pads: Any, dilation: Any) -> Array:
    channels = y.shape[1] // math.prod(kernel)
    x = np.zeros((len(y), channels, *size), y.dtype)
    y = y.reshape(len(y), channels, *kernel, *_count(size, kernel, stride, pads, dilation))
    for o, k, i in _visits(size, kernel, stride, pads, dilation):
        x[(slice(None), slice(None), *i)] += y[(slice(None), slice(None), *k, *o)]
    return x


def _unfold(
    _: int, x: Array, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Array:
    pads = [(p, p) for p in _each(padding, 2)]
    return _unfolded(x, _each(kernel_size, 2), _each(stride, 2), pads, _each(dilation, 2))


def _fold(
    x: Array, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Array:  # fmt: skip
    if x.ndim == 2:
        return _fold(x[None], output_size, kernel_size, dilation, padding, stride)[0]
    pads = [(p, p) for p in _each(padding, 2)]
    kernel, stride, dilation = _each(kernel_size, 2), _each(stride, 2), _each(dilation, 2)
    return _folded(x, _each(output_size, 2), kernel, stride, pads, dilation)


def _pool_size(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> list[int]:
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        starts = range(-p, n + p, s)  # of windows that begin before the padding behind
        if ceil_mode:
            reach = [start for start in starts if start < n]
            last = n + p - d * (k - 1) - 1
            out.append(sum(start <= last or reach[i - 1] < last for i, start in enumerate(reach)))
        else:
            out.append(sum(start + d * (k - 1) < n + p for start in starts))
    return out


def _max_pooling(
    x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Array:
    size = x.shape[2:]
    out = _pool_size(size, kernel, stride, padding, dilation, ceil_mode)
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    pads = [(p, p) for p in padding]
    for o, _, i in _visits(size, kernel, stride, pads, dilation, out):
        at = (slice(None), slice(None), *o)
        y[at] = np.maximum(y[at], x[(slice(None), slice(None), *i)])
    return y


def _window_sum(x: Array, kernel: Any, stride: Any, padding: Any, out: Any) -> Array:
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    pads = [(p, p) for p in padding]
    for o, _, i in _visits(x.shape[2:], kernel, stride, pads, (1,) * len(kernel), out):
        y[(slice(None), slice(None), *o)] += x[(slice(None), slice(None), *i)]
    return y


def _window_spread(y: Array, kernel: Any, stride: Any, padding: Any, size: Any) -> Array:
    x = np.zeros((*y.shape[:2], *size), y.dtype)
    pads = [(p, p) for p in padding]
    for o, _, i in _visits(size, kernel, stride, pads, (1,) * len(kernel), y.shape[2:]):
        x[(slice(None), slice(None), *i)] += y[(slice(None), slice(None), *o)]
    return x


def _window_place(
    g: Array, number: Any, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Array:
    x = np.zeros((*g.shape[:2], *size), g.dtype)
    pads = [(p, p) for p in padding]
    for o, k, i in _visits(size, kernel, stride, pads, dilation, g.shape[2:]):
        chosen = number[(slice(None), slice(None), *o)] == np.ravel_multi_index(k, kernel)
        x[(slice(None), slice(None), *i)] += np.where(chosen, g[(slice(None), slice(None), *o)], 0)
    return x


def _max_pool(
    axes: int, x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Array:  # fmt: skip
    kernel = _each(kernel_size, axes)
    stride = kernel if stride is None else _each(stride, axes)
    return _max_pooling(x, kernel, stride, _each(padding, axes), _each(dilation, axes), ceil_mode)


def _avg_pool(
    axes: int, x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: Any = None,
) -> Array:  # fmt: skip
    kernel, padding = _each(kernel_size, axes), _each(padding, axes)
    stride = kernel if stride is None else _each(stride, axes)
    out = _pool_size(x.shape[2:], kernel, stride, padding, (1,) * axes, ceil_mode)
    total = _window_sum(x, kernel, stride, padding, out)
    if divisor_override:
        return total / divisor_override
    if count_include_pad:
        frame = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
        return total / _window_sum(np.ones((1, 1, *frame)), kernel, stride, (0,) * axes, out)
    return total / _window_sum(np.ones((1, 1, *x.shape[2:])), kernel, stride, padding, out)


def _adaptive(axes: int, x: Array, output_size: Any) -> Array:
    for axis, out in enumerate(_each(output_size, axes), 2):
        n = x.shape[axis]
        count = n if out is None else out
        bounds = [(i * n / count, (i + 1) * n / count) for i in range(count)]
        parts = [
            x.take(range(math.floor(start), math.ceil(stop)), axis).mean(axis)
            for start, stop in bounds
        ]
        x = np.stack(parts, axis)
    return x


def _upsample(
    x: Array, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool = False,
) -> Array:  # fmt: skip
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        out = _each(size, x.ndim - 2)[axis - 2] if size else int(n * scale_factor)
        step = n / out
        rows = []
        for i in range(out):
            if mode == "nearest":
                rows.append(x.take(int(i * step), axis))
                continue
            place = i * (n - 1) / (out - 1) if align_corners else max(0, (i + 0.5) * step - 0.5)
            low = int(place)
            high = min(low + 1, n - 1)
            rows.append(x.take(low, axis) * (1 - place + low) + x.take(high, axis) * (place - low))
        x = np.stack(rows, axis)
    return x


# Normalization


def _standardized(x: Array, axis: Any = -1, eps: float = 1e-5) -> Array:
    mean = np.mean(x, axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(np.var(x, axis=axis, keepdims=True) + eps)


def _by_feature(array: Array, ndim: int) -> Array:
    return array.reshape(1, -1, *(1,) * (ndim - 2))


def _with_features(y: Array, weight: Array, bias: Array) -> Array:
    y = y if weight is None else y * _by_feature(weight, y.ndim)
    return y if bias is None else y + _by_feature(bias, y.ndim)


def _batch_norm(
    x: Array, mean: Array, var: Array, weight: Array = None, bias: Array = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    if training:
        y = _standardized(x, (0, *range(2, x.ndim)), eps)
    else:
        y = (x - _by_feature(mean, x.ndim)) / np.sqrt(_by_feature(var, x.ndim) + eps)
    return _with_features(y, weight, bias)


def _instance_norm(
    x: Array, mean: Array = None, var: Array = None, weight: Array = None, bias: Array = None,
    use_input_stats: bool = True,
) -> Array:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(x, mean, var, weight, bias)
    return _with_features(_standardized(x, tuple(range(2, x.ndim))), weight, bias)


def _group_norm(
    x: Array, groups: int, weight: Array = None, bias: Array = None, eps: float = 1e-5
) -> Array:
    parts = [
        _standardized(part, tuple(range(1, x.ndim)), eps) for part in np.split(x, groups, axis=1)
    ]
    return _with_features(np.concatenate(parts, axis=1), weight, bias)


def _layer_norm(
    x: Array, shape: Any, weight: Array = None, bias: Array = None, eps: float = 1e-5
) -> Array:
    y = _standardized(x, tuple(range(-len(_each(shape, 1)), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x: Array, shape: Any, weight: Array = None, eps: Any = None) -> Array:
    axes = tuple(range(-len(_each(shape, 1)), 0))
    eps = np.finfo(np.float64).eps if eps is None else eps
    y = x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + eps)
    return y if weight is None else y * weight


def _length(x: Array, p: float, axis: int) -> Array:
    return np.power(np.power(np.abs(x), p).sum(axis=axis, keepdims=True), np.longdouble(1) / p)


# Attention


def _softmax(x: Array) -> Array:
    powers = np.exp(x)
    return powers / powers.sum(axis=-1, keepdims=True)


def _masked_softmax(x: Array, mask: Array) -> Array:
    out, seen = np.zeros_like(x), np.broadcast_to(mask, x.shape)
    for place in np.ndindex(x.shape[:-1]):
        if seen[place].any():
            out[place][seen[place]] = _softmax(x[place][seen[place]])
    return out


def _attention(
    query: Array, key: Array, mask: Array = None, is_causal: bool = False, scale: Any = None
) -> Array:
    scale = 1 / np.sqrt(np.longdouble(query.shape[-1])) if scale is None else scale
    scores = np.einsum("...le,...se->...ls", query, key) * scale
    if is_causal:
        mask = np.arange(scores.shape[-1]) <= np.arange(scores.shape[-2])[:, np.newaxis]
    elif mask is not None and mask.dtype != bool:
        return _softmax(scores + mask)
    return _masked_softmax(scores, np.array(True) if mask is None else mask)


def _attended(
    query: Array, key: Array, value: Array, attn_mask: Array = None, is_causal: bool = False,
    scale: Any = None, enable_gqa: bool = False,
) -> Array:  # fmt: skip
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, times, -3), np.repeat(value, times, -3)
    return _attention(query, key, attn_mask, is_causal, scale) @ value


# Losses


def _nll(
    log_p: Array, labels: Array, weight: Array = None, ignore_index: int = -100,
    reduction: str = "mean", smoothing: float = 0.0,
) -> Array:  # fmt: skip
    classes = log_p.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, total = np.zeros(labels.shape, log_p.dtype), np.zeros((), log_p.dtype)
    for place in np.ndindex(labels.shape):
        label = labels[place]
        if label != ignore_index:
            row = log_p[(place[0], slice(None), *place[1:])]
            losses[place] = -weight[label] * row[label] * (1 - np.longdouble(smoothing))
            losses[place] -= np.longdouble(smoothing) / classes * (weight * row).sum()
            total += weight[label]
    return losses.sum() / total if reduction == "mean" else _reduced(losses, reduction)


def _cross_entropy(
    logits: Array, labels: Array, weight: Array = None, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Array:  # fmt: skip
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    if labels.ndim < logits.ndim:
        return _nll(log_p, labels, weight, ignore_index, reduction, label_smoothing)
    smoothing = np.longdouble(label_smoothing)
    target = labels * (1 - smoothing) + smoothing / logits.shape[1]
    return _reduced(-(target * log_p).sum(axis=1), reduction)


def _huber(x: Array, t: Array, reduction: str = "mean", delta: float = 1.0) -> Array:
    d = np.abs(x - t)
    far = np.longdouble(delta) * (d - np.longdouble(delta) / 2)
    return _reduced(np.where(d <= delta, d * d / 2, far), reduction)


def _smooth_l1(x: Array, t: Array, reduction: str = "mean", beta: float = 1.0) -> Array:
    d = np.abs(x - t)
    if beta == 0:
        return _reduced(d, reduction)
    near = d * d / 2 / np.longdouble(beta)
    return _reduced(np.where(d < beta, near, d - np.longdouble(beta) / 2), reduction)


def _poisson(
    x: Array, t: Array, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    losses = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        stirling = t * np.log(t) - t + np.log(2 * np.longdouble(math.pi) * t) / 2
        losses = losses + np.where(t > 1, stirling, 0)
    return _reduced(losses, reduction)


def _kl(x: Array, t: Array, reduction: str = "mean", log_target: bool = False) -> Array:
    losses = np.exp(t) * (t - x) if log_target else t * (np.log(t) - x)
    if reduction == "batchmean":
        return losses.sum() / len(x)
    return _reduced(losses, reduction)


def _entropies(x: Array, t: Array) -> Array:
    return -(t * np.log(x) + (1 - t) * np.log(1 - x))


def _bce(x: Array, t: Array, weight: Array = None, reduction: str = "mean") -> Array:
    return _reduced(_entropies(x, t) * (1 if weight is None else weight), reduction)


def _hinge(x: Array, t: Array, margin: float = 1.0, reduction: str = "mean") -> Array:
    return _reduced(np.where(t == 1, x, np.maximum(0, np.longdouble(margin) - x)), reduction)


def _ranking(a: Array, b: Array, t: Array, margin: float = 0.0, reduction: str = "mean") -> Array:
    return _reduced(np.maximum(0, margin - t * (a - b)), reduction)


def _cosine(a: Array, b: Array, axis: int = 1) -> Array:
    a, b = np.broadcast_arrays(a, b)
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def _distance(
    a: Array, b: Array, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> Array:
    out = _length(a - b + np.float64(eps), p, -1)
    return out if keepdims else out[..., 0]


def _bilinear(a: Array, b: Array, weight: Array, bias: Array = 0) -> Array:
    return np.stack([((a @ w) * b).sum(-1) for w in weight], axis=-1) + bias


# Activations


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "none":
        return x * _erfc(-x * np.sqrt(np.longdouble(0.5))) / 2
    # (1 + tanh(u)) / 2 is the logistic function of 2u.
    return x / (1 + np.exp(-2 * np.sqrt(2 / np.longdouble(math.pi)) * (x + 0.044715 * x**3)))


def _erfc(x: Array) -> Array:
    return np.vectorize(math.erfc, otypes=[float])(x)


def _glu(x: Array, axis: int = -1) -> Array:
    a, b = np.split(x, 2, axis)
    return a / (1 + np.exp(-b))


def _prelu(x: Array, weight: Array) -> Array:
    slope = weight if weight.size == 1 else _by_feature(weight, x.ndim)
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def _celu(x: Array, alpha: float = 1.0) -> Array:
    return np.maximum(x, 0) + alpha * (np.exp(np.minimum(x, 0) / np.longdouble(alpha)) - 1)


def _selu(x: Array) -> Array:
    low = 1.6732632423543772848170429916717 * (np.exp(np.minimum(x, 0)) - 1)
    return 1.0507009873554804934193349852946 * (np.maximum(x, 0) + low)


def _softmin(x: Array, axis: int = -1) -> Array:
    return np.exp(-x) / np.exp(-x).sum(axis=axis, keepdims=True)


def _dropout2d(x: Array, p: float = 0.5, training: bool = True, rng: Any = None) -> Array:
    if not training:
        return x
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return np.where(np.random.default_rng(rng).random(shape) < p, 0, x / (1 - np.longdouble(p)))


def _shuffle(x: Array, r: int) -> Array:
    *front, c, h, w = x.shape
    out = np.zeros((*front, c // r**2, h * r, w * r), x.dtype)
    for k, i, j in np.ndindex(c // r**2, r, r):
        out[..., k, i::r, j::r] = x[..., k * r**2 + i * r + j, :, :]
    return out


def _unshuffle(x: Array, r: int) -> Array:
    *front, c, h, w = x.shape
    out = np.zeros((*front, c * r**2, h // r, w // r), x.dtype)
    for k, i, j in np.ndindex(c, r, r):
        out[..., k * r**2 + i * r + j, :, :] = x[..., k, i::r, j::r]
    return out


LAYERS: dict[str, Callable[..., Array]] = {
    "convolution": _convolution, "convolution_input": _input, "convolution_weight": _weight,
    "conv1d": _batched(1, _conv), "conv2d": _batched(2, _conv), "conv3d": _batched(3, _conv),
    "conv_transpose1d": _batched(1, _conv_transpose),
    "conv_transpose2d": _batched(2, _conv_transpose),
    "windows_unfolded": _unfolded, "windows_folded": _folded,
    "unfold": _batched(2, _unfold), "fold": _fold,
    "max_pooling": _max_pooling, "window_sum": _window_sum, "window_spread": _window_spread,
    "window_place": _window_place,
    "max_pool1d": _batched(1, _max_pool), "max_pool2d": _batched(2, _max_pool),
    "avg_pool1d": _batched(1, _avg_pool), "avg_pool2d": _batched(2, _avg_pool),
    "adaptive_avg_pool1d": _batched(1, _adaptive), "adaptive_avg_pool2d": _batched(2, _adaptive),
    "upsample": _upsample, "pixel_shuffle": _shuffle, "pixel_unshuffle": _unshuffle,
    "standardize": _standardized, "batch_norm": _batch_norm, "instance_norm": _instance_norm,
    "group_norm": _group_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "normalize": lambda x, p=2.0, axis=1: x / _length(x, p, axis),
    "embedding": lambda index, weight, padding_idx=None: np.stack(
        [weight[i] for i in index.ravel()]
    ).reshape(*index.shape, -1),
    "one_hot": lambda index, n=-1: np.eye(n if n > 0 else index.max() + 1, dtype=int)[index],
    "masked_softmax": _masked_softmax, "attention_weights": _attention,
    "scaled_dot_product_attention": _attended,
    "cross_entropy": _cross_entropy, "nll_loss": _nll,
    "l1_loss": lambda x, t, reduction="mean": _reduced(np.abs(x - t), reduction),
    "huber_loss": _huber, "smooth_l1_loss": _smooth_l1, "poisson_nll_loss": _poisson,
    "kl_div": _kl, "binary_entropies": _entropies, "bounded_log": np.log,
    "multiply_no_nan": lambda x, y: x * y, "x_log_x": lambda x: np.log(x**x),
    "binary_cross_entropy": _bce, "hinge_embedding_loss": _hinge, "margin_ranking_loss": _ranking,
    "soft_margin_loss": lambda x, t, reduction="mean": _reduced(
        np.log(1 + np.exp(-t * x)), reduction
    ),
    "cosine_similarity": _cosine, "pairwise_distance": _distance, "bilinear": _bilinear,
    "gelu": _gelu, "erf": lambda x: np.vectorize(math.erf, otypes=[float])(x),
    "normal_cdf": lambda x: _erfc(-x * np.sqrt(np.longdouble(0.5))) / 2,
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "selu": _selu, "celu": _celu, "glu": _glu, "prelu": _prelu, "softmin": _softmin,
    "tanhshrink": lambda x: x - np.sinh(x) / np.cosh(x),
    "softsign": lambda x: np.where(x > 0, x / (1 + x), x / (1 - x)),
    "hardtanh": lambda x, low=-1.0, high=1.0: np.minimum(np.maximum(x, low), high),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "hardsigmoid": lambda x: np.minimum(np.maximum(x / 6 + 0.5, 0), 1),
    "hardswish": lambda x: x * np.minimum(np.maximum(x / 6 + 0.5, 0), 1),
    "hardshrink": lambda x, lambd=0.5: x * (np.abs(x) > lambd),
    "softshrink": lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
    "threshold": lambda x, at, value: np.where(x > at, x, value),
    "dropout2d": _dropout2d,
}  # fmt: skip
