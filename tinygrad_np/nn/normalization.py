"""Normalization layers. Those over the batch keep running statistics as buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import distributed
from ..ops import normalization
from ..tensor import Array, Operand, Tensor
from .module import Module


class _Running(Module):
    """Weight, bias and running statistics for each feature."""

    ndims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if num_features < 1:
            raise ValueError(f"{type(self).__name__}({num_features}): must be at least 1")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Tensor(np.ones(num_features), True, dtype) if affine else None
        self.bias = Tensor(np.zeros(num_features), True, dtype) if affine else None
        self.running_mean: Array | None = None
        self.running_var: Array | None = None
        self.num_batches_tracked: Array | None = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features, dtype)
            self.running_var = np.ones(num_features, dtype)
            self.num_batches_tracked = np.zeros((), np.int64)

    def _check(self, x: Operand) -> None:
        shape = np.shape(x)
        if len(shape) not in self.ndims:
            axes = " or ".join(map(str, self.ndims))
            raise ValueError(
                f"{type(self).__name__}: x must have {axes} axes, its shape is {shape}"
            )
        feature = len(shape) - self.ndims[-1] + 1
        if shape[feature] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}({self.num_features}): x of shape {shape} has "
                f"{shape[feature]} features on axis {feature}"
            )

    def extra_repr(self) -> str:
        """The number of features, and the settings that differ from their defaults."""
        words = [f"{self.num_features}"]
        words += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        words += [f"momentum={self.momentum}"] if self.momentum != 0.1 else []
        words += ["affine=False"] if self.weight is None else []
        words += ["track_running_stats=False"] if self.running_mean is None else []
        return ", ".join(words)


class _BatchNorm(_Running):
    synchronized = False
    """Whether ranks share the statistics: see ``tg.distributed.synchronize``."""

    def forward(self, x: Operand) -> Tensor:
        """Standardized with the batch's statistics in training, otherwise with the running ones."""
        self._check(x)
        momentum = self.momentum
        batches = self.training or self.running_mean is None
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if momentum is None:  # the plain mean of all batches
                momentum = 1 / int(self.num_batches_tracked)
        if self.training and self.synchronized:
            return distributed.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, momentum or 0.0,
                self.eps,
            )  # fmt: skip
        tracked = self.training or not batches
        return normalization.batch_norm(
            x,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight, self.bias, batches, momentum or 0.0, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """``tg.batch_norm`` of (N, features) or (N, features, length), with running statistics.

    ``momentum=None`` averages over all batches. The buffers are ``running_mean``, ``running_var``
    and ``num_batches_tracked``.

    >>> from tinygrad_np import nn
    >>> sorted(nn.BatchNorm1d(3).state_dict())
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """

    ndims = (2, 3)

    def _check(self, x: Operand) -> None:
        shape = np.shape(x)
        if len(shape) not in self.ndims or shape[1] != self.num_features:
            raise ValueError(
                f"BatchNorm1d({self.num_features}): x must have shape (batch, {self.num_features}) "
                f"or (batch, {self.num_features}, length), got {shape}"
            )


class BatchNorm2d(_BatchNorm):
    """``tg.batch_norm`` of images (N, features, H, W), with running statistics as buffers.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.BatchNorm2d(3)(np.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    ndims = (4,)


class BatchNorm3d(_BatchNorm):
    """``tg.batch_norm`` of volumes (N, features, D, H, W), with running statistics as buffers.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.BatchNorm3d(3)(np.ones((2, 3, 2, 4, 4))).shape
    (2, 3, 2, 4, 4)
    """

    ndims = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)

    def forward(self, x: Operand) -> Tensor:
        """Each feature of each sample standardized."""
        self._check(x)
        batched = np.ndim(x) == self.ndims[-1]
        given = x if batched else (x if isinstance(x, Tensor) else Tensor(x))[None]
        own = self.training or self.running_mean is None
        y = normalization.instance_norm(
            given, self.running_mean, self.running_var, self.weight, self.bias, own,
            self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return y if batched else y[0]

    def extra_repr(self) -> str:
        """The number of features, and the settings that differ from their defaults."""
        words = [f"{self.num_features}"]
        words += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        words += ["affine=True"] if self.weight is not None else []
        words += ["track_running_stats=True"] if self.running_mean is not None else []
        return ", ".join(words)


class InstanceNorm1d(_InstanceNorm):
    """``tg.instance_norm`` of (N, features, length), or without the batch.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.InstanceNorm1d(3)(np.ones((2, 3, 4))).shape
    (2, 3, 4)
    """

    ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """``tg.instance_norm`` of images (N, features, H, W), or without the batch.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.InstanceNorm2d(3)(np.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    ndims = (3, 4)


class _LastAxes(Module):
    """Normalization over the last axes, of ``normalized_shape``."""

    def __init__(self, normalized_shape: Any, eps: float | None) -> None:
        shape = tuple(normalized_shape) if np.ndim(normalized_shape) else (normalized_shape,)
        self.normalized_shape, self.eps = shape, eps

    def extra_repr(self) -> str:
        """The axes."""
        return f"{self.normalized_shape}"


class LayerNorm(_LastAxes):
    """``tg.layer_norm`` with a trained ``weight`` and ``bias`` of ``normalized_shape``.

    >>> from tinygrad_np import nn
    >>> nn.LayerNorm(64)
    LayerNorm((64,))
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, eps)
        shape = self.normalized_shape
        self.weight = Tensor(np.ones(shape), True, dtype) if elementwise_affine else None
        self.bias = Tensor(np.zeros(shape), True, dtype) if elementwise_affine and bias else None

    def forward(self, x: Operand) -> Tensor:
        """Each sample standardized over its last axes."""
        assert self.eps is not None
        return normalization.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_LastAxes):
    """``tg.rms_norm`` with a trained ``weight`` of ``normalized_shape``.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.RMSNorm(4)(np.ones((2, 4))).shape
    (2, 4)
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(normalized_shape, eps)
        ones = np.ones(self.normalized_shape)
        self.weight = Tensor(ones, True, dtype) if elementwise_affine else None

    def forward(self, x: Operand) -> Tensor:
        """Each sample divided by its root mean square."""
        return normalization.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """``tg.group_norm`` with a trained ``weight`` and ``bias`` for each feature.

    >>> import numpy as np, tinygrad_np as tg
    >>> tg.nn.GroupNorm(2, 4)(np.ones((2, 4, 3))).shape
    (2, 4, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_groups} groups must divide {num_channels} channels")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Tensor(np.ones(num_channels), True, dtype) if affine else None
        self.bias = Tensor(np.zeros(num_channels), True, dtype) if affine else None

    def forward(self, x: Operand) -> Tensor:
        """Each sample standardized over groups of features."""
        return normalization.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Groups and channels."""
        return f"{self.num_groups}, {self.num_channels}"
