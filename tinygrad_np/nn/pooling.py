"""Pooling, windows and other resolutions as modules."""

from __future__ import annotations

from ..ops import pooling, resampling, windows
from .function import as_module

AdaptiveAvgPool1d = as_module(__name__, "AdaptiveAvgPool1d", pooling.adaptive_avg_pool1d)
AdaptiveAvgPool2d = as_module(__name__, "AdaptiveAvgPool2d", pooling.adaptive_avg_pool2d)
AvgPool1d = as_module(__name__, "AvgPool1d", pooling.avg_pool1d)
AvgPool2d = as_module(__name__, "AvgPool2d", pooling.avg_pool2d)
Fold = as_module(__name__, "Fold", windows.fold)
MaxPool1d = as_module(__name__, "MaxPool1d", pooling.max_pool1d)
MaxPool2d = as_module(__name__, "MaxPool2d", pooling.max_pool2d)
PixelShuffle = as_module(__name__, "PixelShuffle", resampling.pixel_shuffle)
PixelUnshuffle = as_module(__name__, "PixelUnshuffle", resampling.pixel_unshuffle)
Unfold = as_module(__name__, "Unfold", windows.unfold)
Upsample = as_module(__name__, "Upsample", resampling.upsample)
