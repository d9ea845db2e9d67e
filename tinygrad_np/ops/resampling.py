"""Images of another resolution: pixels moved to channels and back, and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import case, normal
from ..composites import composite
from ..tensor import Operand, Tensor
from .elementwise import add, multiply
from .indexing import take
from .shape import reshape, transpose

__all__ = ["pixel_shuffle", "pixel_unshuffle", "upsample"]


def _check_images(name: str, x: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = np.shape(x)
    if len(shape) < 3:
        raise ValueError(f"{name}: x must have axes (..., channels, height, width), got {shape}")
    return shape


@composite(cases=[case(normal(2, 4, 2, 3), 2), case(normal(4, 1, 2), 2)])
def pixel_shuffle(x: Operand, upscale_factor: int) -> Tensor:
    """Channels to pixels: (..., C r², H, W) to (..., C, H r, W r). (Shi et al. 2016.)

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.pixel_shuffle(np.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    *batch, c, h, w = _check_images("pixel_shuffle", x)
    r, n = upscale_factor, len(batch)
    if r < 1 or c % r**2:
        raise ValueError(f"pixel_shuffle: {c} channels do not divide by {r}²")
    parts = reshape(x, (*batch, c // r**2, r, r, h, w))
    moved = transpose(parts, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(moved, (*batch, c // r**2, h * r, w * r))


@composite(cases=[case(normal(2, 1, 2, 4), 2), case(normal(2, 2, 2), 2)])
def pixel_unshuffle(x: Operand, downscale_factor: int) -> Tensor:
    """Pixels to channels: (..., C, H r, W r) to (..., C r², H, W): undoes ``pixel_shuffle``.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.pixel_unshuffle(np.arange(4.0).reshape(1, 1, 2, 2), 2).shape
    (1, 4, 1, 1)
    """
    *batch, c, h, w = _check_images("pixel_unshuffle", x)
    r, n = downscale_factor, len(batch)
    if r < 1 or h % r or w % r:
        raise ValueError(f"pixel_unshuffle: {h} × {w} pixels do not divide by {r}")
    parts = reshape(x, (*batch, c, h // r, r, w // r, r))
    moved = transpose(parts, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(moved, (*batch, c * r**2, h // r, w // r))


def _places(n: int, out: int, scale: float | None, align_corners: bool) -> Any:
    """Where the centre of each new pixel lies among the old ones."""
    if align_corners:
        return np.arange(out) * ((n - 1) / (out - 1) if out > 1 else 0.0)
    step = n / out if scale is None else 1 / scale
    return np.maximum((np.arange(out) + 0.5) * step - 0.5, 0)


_MODES = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}


@composite(
    cases=[case(normal(1, 2, 2, 3), (3, 5)), case(normal(2, 1, 3), None, 2),
           case(normal(1, 1, 2, 3), None, 2, "bilinear"),
           case(normal(1, 2, 3, 2), (4, 3), mode="bilinear", align_corners=True),
           case(normal(1, 1, 3), 5, mode="linear")]
)  # fmt: skip
def upsample(
    x: Operand, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """Images x (N, C, ...) at another resolution, of ``size`` or ``scale_factor`` times their own.

    Both are a number, or one for each spatial axis. ``mode`` is "nearest", "linear" (one axis),
    "bilinear" (two) or "trilinear" (three); with ``align_corners`` the outermost pixels' centres
    stay in place, else their edges. Gradient: g times the same weights, added up.

    >>> import tinygrad_np as tg
    >>> tg.upsample([[[1.0, 3.0]]], scale_factor=2).tolist()
    [[[1.0, 1.0, 3.0, 3.0]]]
    >>> tg.upsample([[[1.0, 3.0]]], 3, mode="linear", align_corners=True).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    out: Tensor = x if isinstance(x, Tensor) else Tensor(x)
    axes = out.ndim - 2
    if axes not in _MODES.get(mode, ()):
        raise ValueError(
            f"upsample: mode={mode!r} does not fit x of shape {out.shape}: use 'nearest', or "
            "'linear', 'bilinear', 'trilinear' for one, two, three spatial axes"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError("upsample: give either size or scale_factor")
    if align_corners is not None and mode == "nearest":
        raise ValueError("upsample: align_corners has no meaning for mode='nearest'")
    given = scale_factor if size is None else size
    each: Sequence[Any] = tuple(given) if np.ndim(given) else (given,) * axes
    for axis, value in enumerate(each, 2):
        n = out.shape[axis]
        scale = float(value) if size is None else None
        length = int(n * scale) if scale is not None else value
        if length < 1:
            raise ValueError(f"upsample: the result would have length {length} along axis {axis}")
        if mode == "nearest":
            step = n / length if scale is None else 1 / scale
            out = take(out, np.minimum((np.arange(length) * step).astype(int), n - 1), axis)
            continue
        places = _places(n, length, scale, bool(align_corners))
        lower = np.minimum(places.astype(int), n - 1)
        share = (places - lower).astype(out.dtype).reshape(-1, *(1,) * (out.ndim - 1 - axis))
        upper = take(out, np.minimum(lower + 1, n - 1), axis)
        out = add(multiply(take(out, lower, axis), 1 - share), multiply(upper, share))
    return out
