"""How parameters follow their gradients: optimisers' rules, on the arrays of any library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import tinygrad_np as tg


class Update(Protocol):
    """The rule of an optimiser, and the optimiser itself in ours and in PyTorch."""

    @property
    def buffers(self) -> int:
        """How many arrays of its shape, zeros at first, a parameter needs beside it."""

    def __call__(self, p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        """The new parameter and buffers, by arithmetic alone; ``g`` is the gradient."""

    def ours(self, parameters: Iterable[tg.Tensor]) -> tg.optim.Optimizer:
        """The optimiser of ``tinygrad_np.optim``."""

    def torch(self, parameters: list[Any]) -> Callable[[Iterable[Any]], None]:
        """A function that updates PyTorch's parameters in place, the fastest known, eager."""


@dataclass(frozen=True)
class SGD:
    """Gradient descent: v becomes momentum · v + g, and p becomes p - rate · v."""

    rate: float
    momentum: float = 0.0

    @property
    def buffers(self) -> int:
        return 1 if self.momentum else 0

    def __call__(self, p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        if not buffers:
            return (p - self.rate * g,)
        v = self.momentum * buffers[0] + g
        return p - self.rate * v, v

    def ours(self, parameters: Iterable[tg.Tensor]) -> tg.optim.Optimizer:
        return tg.optim.SGD(parameters, self.rate, momentum=self.momentum)

    def torch(self, parameters: list[Any]) -> Callable[[Iterable[Any]], None]:
        """Written out, because ``torch.optim.SGD`` takes longer."""
        import torch

        velocities = [torch.zeros_like(p) if self.momentum else None for p in parameters]

        def update(gradients: Iterable[Any]) -> None:
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocities, strict=True):
                    step = g if v is None else v.mul_(self.momentum).add_(g)
                    p.sub_(step, alpha=self.rate)

        return update
