"""Activation functions as modules."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from ..ops import activation, rectifier
from ..ops.elementwise import tanh
from ..tensor import Operand, Tensor
from .function import as_module
from .module import Module

CELU = as_module(__name__, "CELU", activation.celu)
ELU = as_module(__name__, "ELU", activation.elu)
GELU = as_module(__name__, "GELU", activation.gelu)
GLU = as_module(__name__, "GLU", activation.glu)
Hardshrink = as_module(__name__, "Hardshrink", rectifier.hardshrink)
Hardsigmoid = as_module(__name__, "Hardsigmoid", rectifier.hardsigmoid)
Hardswish = as_module(__name__, "Hardswish", rectifier.hardswish)
Hardtanh = as_module(__name__, "Hardtanh", rectifier.hardtanh)
LeakyReLU = as_module(__name__, "LeakyReLU", rectifier.leaky_relu)
LogSigmoid = as_module(__name__, "LogSigmoid", activation.log_sigmoid)
LogSoftmax = as_module(__name__, "LogSoftmax", activation.log_softmax)
Mish = as_module(__name__, "Mish", activation.mish)
ReLU = as_module(__name__, "ReLU", rectifier.relu)
ReLU6 = as_module(__name__, "ReLU6", rectifier.relu6)
SELU = as_module(__name__, "SELU", activation.selu)
SiLU = as_module(__name__, "SiLU", activation.silu)
Sigmoid = as_module(__name__, "Sigmoid", activation.sigmoid)
Softmax = as_module(__name__, "Softmax", activation.softmax)
Softmin = as_module(__name__, "Softmin", activation.softmin)
Softplus = as_module(__name__, "Softplus", activation.softplus)
Softshrink = as_module(__name__, "Softshrink", rectifier.softshrink)
Softsign = as_module(__name__, "Softsign", activation.softsign)
Tanh = as_module(__name__, "Tanh", tanh)
Tanhshrink = as_module(__name__, "Tanhshrink", activation.tanhshrink)
Threshold = as_module(__name__, "Threshold", rectifier.threshold, given="1.0, 0.0")


class PReLU(Module):
    """``tg.prelu`` with a trained ``weight``: one, or one for each feature.

    >>> import tinygrad_np as tg
    >>> tg.nn.PReLU()([-2.0, 3.0]).tolist()
    [-0.5, 3.0]
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = np.float32
    ) -> None:
        self.weight = Tensor(np.full(num_parameters, init), True, dtype)

    def forward(self, x: Operand) -> Tensor:
        """x where positive, else weight x."""
        return rectifier.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The number of weights."""
        return f"num_parameters={self.weight.size}"
