"""Networks as objects: modules, their parameters by name, layers, initialisers, a summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import random, tracing
from .ops import activation
from .ops.elementwise import tanh
from .ops.linalg import linear
from .recorder import is_recorded, scope, scope_owner
from .tables import aligned
from .tensor import Array, Operand, Tensor

Initializer = Callable[[tuple[int, ...], "np.random.Generator"], Array]
"""Draws an array of weights: ``initializer((out, in), rng)``."""


class Module:
    """A part of a network: Tensors and other Modules as attributes, and a ``forward`` method.

    Attributes that are leaf Tensors requiring grad are its parameters, those that are Modules its
    children, also in lists, tuples and dicts; a parameter's name is the path to it.

    >>> from tinygrad_np import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden, self.out = nn.Linear(4, 3), nn.Linear(3, 2, bias=False)
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x).relu())
    >>> [name for name, _ in Net().named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight']
    """

    training: bool = True

    def forward(self, *args: Any) -> Any:
        """What the module computes; to be defined by each."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward method")

    def __call__(self, *args: Any) -> Any:
        """Run ``forward``; under ``tg.record()``, as a scope of its own."""
        tracing.depend(self)
        if not is_recorded():
            return self.forward(*args)
        outer = scope_owner()
        names = outer.children() if outer is not None else ()
        name = next((name for name, child in names if child is self), type(self).__name__)
        with scope(name, owner=self):
            return self.forward(*args)

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one, by name."""
        return ((name, value) for name, value in self._parts() if isinstance(value, Module))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """All attributes, and what stands in lists, tuples and dicts among them."""
        for name, value in vars(self).items():
            yield from _inside(name, value)

    def _own(self) -> list[tuple[str, Tensor]]:
        """The parameters directly in this module."""
        own = [(n, v) for n, v in self._parts() if isinstance(v, Tensor)]
        return [(n, v) for n, v in own if v.requires_grad and v.is_leaf]

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all modules inside it, with their paths."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """All parameters with their paths; one that is shared comes once, under its first path."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._own():
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self) -> list[Tensor]:
        """All parameters."""
        return [parameter for _, parameter in self.named_parameters()]

    def train(self, mode: bool = True) -> Module:
        """Switch dropout and the like on; returns the module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch dropout and the like off; returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters' arrays, by path."""
        return {name: parameter.data.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy arrays into the parameters; nothing is changed unless everything fits.

        Raises ValueError that lists every missing, unexpected or ill-fitting name.
        """
        own = dict(self.named_parameters())
        wrong = [f"missing: {name}" for name in own if name not in state]
        wrong += [f"unexpected: {name}" for name in state if name not in own]
        for name, parameter in own.items():
            if name in state:
                array = np.asarray(state[name])
                if array.shape != parameter.shape or array.dtype != parameter.dtype:
                    wrong.append(
                        f"{name}: expected {parameter.dtype} of shape {parameter.shape}, "
                        f"got {array.dtype} of shape {array.shape}"
                    )
        if wrong:
            raise ValueError("the state does not fit this module:\n  " + "\n  ".join(wrong))
        for name, parameter in own.items():
            parameter.data[...] = state[name]

    def summary(self) -> str:
        """A table of the layers, their parameters' shapes and counts, and the total.

        >>> from tinygrad_np import nn
        >>> print(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).summary())
        layer  kind    parameter  shape   count
        0      Linear  weight     (3, 4)     12
        0      Linear  bias       (3,)        3
        1      ReLU    -          -           0
        total                                15
        """
        rows = [("layer", "kind", "parameter", "shape", "count")]
        total, seen = 0, set()
        for path, module in self.named_modules():
            own = module._own()
            for name, parameter in own:
                count = 0 if id(parameter) in seen else parameter.size
                seen.add(id(parameter))
                total += count
                rows.append((path, type(module).__name__, name, str(parameter.shape), f"{count:,}"))
            if not own and not any(True for _ in module.children()):
                rows.append((path, type(module).__name__, "-", "-", "0"))
        rows.append(("total", "", "", "", f"{total:,}"))
        width = max(len(row[-1]) for row in rows)
        return "\n".join(aligned([(*row[:-1], row[-1].rjust(width)) for row in rows]))

    def __repr__(self) -> str:
        inside = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        return f"{type(self).__name__}(" + ("\n" + "\n".join(inside) + "\n" if inside else "") + ")"


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value and, if it is a list, tuple or dict, what is in it, by name."""
    yield name, value
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(f"{name}.{key}", item)


# Initialisers. ``shape`` is (out, in): the layout of Linear's weight


def normal(std: float = 0.01) -> Initializer:
    """N(0, std²): the plain choice, and the first seed document's."""
    return lambda shape, rng: rng.normal(0.0, std, shape)


def zeros() -> Initializer:
    """Zeros, as biases start."""
    return lambda shape, rng: np.zeros(shape)


def he_normal(gain: float = math.sqrt(2)) -> Initializer:
    """N(0, gain² / in), for relu. He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015)."""
    return lambda shape, rng: rng.normal(0.0, gain / math.sqrt(shape[1]), shape)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """U(±gain √(6 / (in + out))), for tanh and sigmoid.

    Glorot, Bengio, "Understanding the difficulty of training deep feedforward networks" (2010).
    """

    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        bound = gain * math.sqrt(6 / (shape[0] + shape[1]))
        return rng.uniform(-bound, bound, shape)

    return draw


def lecun_normal() -> Initializer:
    """N(0, 1 / in). LeCun, Bottou, Orr, Müller, "Efficient backprop" (1998)."""
    return he_normal(1.0)


# Layers


class Linear(Module):
    """The affine layer x Wᵀ + b: ``weight`` (out, in) and ``bias`` (out,), PyTorch's layout.

    ``init`` draws the weight (default: He's, for relu), the bias starts at 0; ``rng`` is the
    generator or seed to draw from.

    >>> from tinygrad_np import nn
    >>> nn.Linear(3, 2, rng=0)([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initializer | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear({in_features}, {out_features}): both must be at least 1")
        generator = random.default_generator() if rng is None else np.random.default_rng(rng)
        drawn = (init or he_normal())((out_features, in_features), generator)
        self.weight = Tensor(drawn, requires_grad=True, dtype=dtype)
        self.bias = Tensor(np.zeros(out_features), True, dtype) if bias else None

    def forward(self, x: Operand) -> Tensor:
        """x (..., in) to (..., out)."""
        return linear(x, self.weight, self.bias)


class Dropout(Module):
    """Inverted dropout with probability ``p`` while training, nothing in ``eval`` mode."""

    def __init__(self, p: float = 0.5, rng: np.random.Generator | int | None = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p={p} must be at least 0 and below 1")
        self.p = p
        self.rng = None if rng is None else np.random.default_rng(rng)

    def forward(self, x: Operand) -> Tensor:
        """See ``tg.dropout``."""
        return random.dropout(x, self.p, self.training, self.rng)


class Sequential(Module):
    """Modules one after the other; their names are their numbers."""

    def __init__(self, *modules: Module) -> None:
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential takes Modules, got {module!r}: write nn.ReLU(), not relu"
                )
        self.modules = list(modules)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        return ((name.removeprefix("modules."), value) for name, value in super()._parts())

    def forward(self, x: Operand) -> Any:
        """Each module on the result of the one before."""
        for module in self.modules:
            x = module(x)
        return x

    def __getitem__(self, i: int) -> Module:
        return self.modules[i]

    def __len__(self) -> int:
        return len(self.modules)


class _Activation(Module):
    """A function without parameters, as a module."""

    function: Callable[..., Tensor]

    def forward(self, x: Operand) -> Tensor:
        """The function, elementwise or along the last axis."""
        return type(self).function(x)


def _activation(name: str, function: Callable[..., Tensor]) -> type[_Activation]:
    doc = f"``tg.{function.__name__}`` as a module."
    return type(name, (_Activation,), {"function": staticmethod(function), "__doc__": doc})


Sigmoid = _activation("Sigmoid", activation.sigmoid)
Tanh = _activation("Tanh", tanh)
LogSigmoid = _activation("LogSigmoid", activation.log_sigmoid)
ReLU = _activation("ReLU", activation.relu)
LeakyReLU = _activation("LeakyReLU", activation.leaky_relu)
ELU = _activation("ELU", activation.elu)
GELU = _activation("GELU", activation.gelu)
SiLU = _activation("SiLU", activation.silu)
Softplus = _activation("Softplus", activation.softplus)
Softmax = _activation("Softmax", activation.softmax)
LogSoftmax = _activation("LogSoftmax", activation.log_softmax)
