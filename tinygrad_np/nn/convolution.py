"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..ops import convolution
from ..ops.windows import per_axis
from ..tensor import Operand, Tensor
from .initializers import Initializer, Rng, he_normal, parameter
from .module import Module, watch_dtype


class _Convolution(Module):
    """Base class of all convolutions: their sizes and their ``repr``."""

    axes: int
    function: Callable[..., Tensor]

    def _set_up(
        self, channels: tuple[int, int], shape: tuple[int, int], groups: int, kernel_size: Any,
        bias: bool, init: Initializer | None, dtype: DTypeLike, rng: Rng,
    ) -> None:  # fmt: skip
        kind, (given, out) = type(self).__name__, channels
        if given < 1 or out < 1 or groups < 1 or given % groups or out % groups:
            raise ValueError(
                f"{kind}({given}, {out}): both must be at least 1, and groups={groups} must divide "
                "both"
            )
        self.in_channels, self.out_channels, self.groups = given, out, groups
        self.kernel_size = per_axis(kernel_size, self.axes, "kernel_size", 1)
        self.weight = parameter(init or he_normal(), (*shape, *self.kernel_size), dtype, rng)
        self.bias = Tensor(np.zeros(out), True, dtype) if bias else None

    def extra_repr(self) -> str:
        """Channels, kernel, and the settings that differ from their defaults."""
        usual = {
            "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1,
        }  # fmt: skip
        words = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        words += [
            f"{name}={value}" for name, default in usual.items()
            if (value := getattr(self, name, default)) not in (default, (default,) * self.axes)
        ]  # fmt: skip
        return ", ".join(words) + ("" if self.bias is not None else ", bias=False")


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self._set_up(
            (in_channels, out_channels), (out_channels, in_channels // max(1, groups)), groups,
            kernel_size, bias, init, dtype, rng,
        )  # fmt: skip

    def forward(self, x: Operand) -> Tensor:
        """x (N, C, ...) to (N, O, ...)."""
        watch_dtype(x, self.weight)
        return type(self).function(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv1d(_Conv):
    """``tg.conv1d`` with a trained ``weight`` (O, C / groups, K) and ``bias`` (O,).

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.Conv1d(3, 8, kernel_size=5)(np.ones((2, 3, 20), np.float32)).shape
    (2, 8, 16)
    """

    axes, function = 1, staticmethod(convolution.conv1d)


class Conv2d(_Conv):
    """``tg.conv2d`` with a trained ``weight`` (O, C / groups, KH, KW) and ``bias`` (O,).

    ``init`` draws the weight (default: He's, for relu), the bias starts at 0.

    >>> import numpy as np
    >>> from tinygrad_np import nn
    >>> layer = nn.Conv2d(1, 6, 5, padding=2, rng=0)
    >>> layer
    Conv2d(1, 6, kernel_size=(5, 5), padding=2)
    >>> layer(np.zeros((64, 1, 28, 28), np.float32)).shape
    (64, 6, 28, 28)
    """

    axes, function = 2, staticmethod(convolution.conv2d)


class Conv3d(_Conv):
    """``tg.conv3d`` with a trained ``weight`` (O, C / groups, KD, KH, KW) and ``bias`` (O,).

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.Conv3d(1, 4, kernel_size=3)(np.ones((2, 1, 5, 5, 5), np.float32)).shape
    (2, 4, 3, 3, 3)
    """

    axes, function = 3, staticmethod(convolution.conv3d)


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding = output_padding
        self._set_up(
            (in_channels, out_channels), (in_channels, out_channels // max(1, groups)), groups,
            kernel_size, bias, init, dtype, rng,
        )  # fmt: skip

    def forward(self, x: Operand) -> Tensor:
        """x (N, C, ...) to (N, O, ...)."""
        return type(self).function(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
            self.dilation,
        )  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    """``tg.conv_transpose1d`` with a trained ``weight`` (C, O / groups, K) and ``bias`` (O,).

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.ConvTranspose1d(3, 2, kernel_size=4, stride=2)(np.ones((1, 3, 5), np.float32)).shape
    (1, 2, 12)
    """

    axes, function = 1, staticmethod(convolution.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """``tg.conv_transpose2d`` with a trained ``weight`` (C, O / groups, KH, KW), ``bias`` (O,).

    >>> import numpy as np, tinygrad_np as tg
    >>> layer = tg.nn.ConvTranspose2d(3, 2, kernel_size=2, stride=2)
    >>> layer(np.ones((1, 3, 4, 4), np.float32)).shape
    (1, 2, 8, 8)
    """

    axes, function = 2, staticmethod(convolution.conv_transpose2d)
