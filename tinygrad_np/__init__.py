"""tinygrad_np: reverse-mode automatic differentiation on NumPy, small and proven.

>>> import tinygrad_np as tg
>>> W = tg.Tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True, name="W")
>>> loss = tg.softmax_cross_entropy([[1.0, 2.0]] @ W, [1])
>>> loss.backward()
>>> W.grad.round(4)
array([[ 0.2689, -0.2689],
       [ 0.5379, -0.5379]])
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import auditing as auditing
from . import distributed as distributed
from . import hints
from . import linalg as linalg
from . import nn as nn
from . import optim as optim
from . import random as random
from .auditing import AuditReport as AuditReport
from .auditing import audit as audit
from .auditing import audit_layer as audit_layer
from .auditing import audit_step as audit_step
from .autodiff import *
from .cases import case as case
from .changes import ChangedArrayError as ChangedArrayError
from .compiler import CompileError as CompileError
from .compiler import compile as compile
from .composites import composite as composite
from .config import show_config as show_config
from .debugging import debug as debug
from .definition import OPS as OPS
from .definition import Op as Op
from .definition import op as op
from .definition import ufunc as ufunc
from .derivations import DerivationError as DerivationError
from .derivations import derivation as derivation
from .drawing import draw as draw
from .drawing import trace_table as trace_table
from .gradient_check import GradcheckError as GradcheckError
from .gradient_check import GradcheckReport as GradcheckReport
from .gradient_check import gradcheck as gradcheck
from .graph import GraphReleasedError as GraphReleasedError
from .graph import is_recording as is_recording
from .live import LiveChart as LiveChart
from .modes import enable_grad as enable_grad
from .modes import no_grad as no_grad
from .numerical import directional_derivative as directional_derivative
from .numerical import numerical_gradient as numerical_gradient
from .ops.activation import *
from .ops.attention import *
from .ops.convolution import *
from .ops.cross_entropy import *
from .ops.elementwise import *
from .ops.indexing import *
from .ops.linalg import *
from .ops.loss import *
from .ops.normalization import *
from .ops.pooling import *
from .ops.rectifier import *
from .ops.reduction import *
from .ops.resampling import *
from .ops.shape import *
from .ops.special import *
from .ops.windows import *
from .random import dropout as dropout
from .random import dropout2d as dropout2d
from .random import manual_seed as manual_seed
from .recompute import checkpoint as checkpoint
from .recorder import record as record
from .recorder import scope as scope
from .serialization import load as load
from .serialization import save as save
from .tensor import Tensor as Tensor

__version__ = "0.1.0"


if TYPE_CHECKING:
    from . import data as data


def __getattr__(name: str) -> Any:
    """Data sets are loaded when they are first asked for: pathlib takes a while to import."""
    if name == "data":
        return importlib.import_module(".data", __name__)
    raise AttributeError(hints.of_name(__name__, name), name=name)
