"""Pooling, windows and other resolutions as modules."""

from __future__ import annotations

from ..ops import pooling, resampling, windows
from .function import as_module

AdaptiveAvgPool1d = as_module(
    __name__,
    "AdaptiveAvgPool1d",
    pooling.adaptive_avg_pool1d,
    given="2",
    example="np.ones((1, 3, 8))",
)
AdaptiveAvgPool2d = as_module(
    __name__,
    "AdaptiveAvgPool2d",
    pooling.adaptive_avg_pool2d,
    given="2",
    example="np.ones((1, 3, 8, 8))",
)
AvgPool1d = as_module(
    __name__, "AvgPool1d", pooling.avg_pool1d, given="2", example="np.ones((1, 3, 8))"
)
AvgPool2d = as_module(
    __name__, "AvgPool2d", pooling.avg_pool2d, given="2", example="np.ones((1, 3, 8, 8))"
)
Fold = as_module(__name__, "Fold", windows.fold, given="(3, 3), 2", example="np.ones((1, 4, 4))")
MaxPool1d = as_module(
    __name__, "MaxPool1d", pooling.max_pool1d, given="2", example="np.ones((1, 3, 8))"
)
MaxPool2d = as_module(
    __name__, "MaxPool2d", pooling.max_pool2d, given="2", example="np.ones((1, 3, 8, 8))"
)
PixelShuffle = as_module(
    __name__, "PixelShuffle", resampling.pixel_shuffle, given="2", example="np.ones((1, 4, 2, 2))"
)
PixelUnshuffle = as_module(
    __name__,
    "PixelUnshuffle",
    resampling.pixel_unshuffle,
    given="2",
    example="np.ones((1, 1, 4, 4))",
)
Unfold = as_module(__name__, "Unfold", windows.unfold, given="2", example="np.ones((1, 3, 8, 8))")
Upsample = as_module(
    __name__,
    "Upsample",
    resampling.upsample,
    given="scale_factor=2",
    example="np.ones((1, 3, 4, 4))",
)
