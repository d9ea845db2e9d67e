"""How parameters follow their gradients: optimisers' rules, on the arrays of any library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import tinygrad_np as tg


class Update(Protocol):
    """The rule of an optimiser, and the optimiser itself in ours and in PyTorch."""

    def buffers(self, p: Any) -> list[Any]:
        """The arrays that a parameter needs beside it, as they are at first."""

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

    def buffers(self, p: Any) -> list[Any]:
        return [0 * p] if self.momentum else []

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


@dataclass(frozen=True)
class AdamW:
    """Means of the gradients and of their squares, corrected; decoupled weight decay.

    (Loshchilov, Hutter 2019.) A mean that starts at 0 is too small by 1 - betaᵗ after t updates.
    This is the same mean over ones in the place of gradients, and is kept like it.
    """

    rate: float
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def buffers(self, p: Any) -> list[Any]:
        one = p.reshape(-1)[0]
        return [0 * p, 0 * p, 0 * one, 0 * one]

    def __call__(self, p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        (a, b), (m, v, of_m, of_v) = self.betas, buffers
        m, v = a * m + (1 - a) * g, b * v + (1 - b) * (g * g)
        of_m, of_v = a * of_m + (1 - a), b * of_v + (1 - b)
        change = self.rate / of_m * m / ((v / of_v) ** 0.5 + self.eps)
        return p - change - self.rate * self.decay * p, m, v, of_m, of_v

    def ours(self, parameters: Iterable[tg.Tensor]) -> tg.optim.Optimizer:
        return tg.optim.AdamW(parameters, self.rate, self.betas, self.eps, self.decay)

    def torch(self, parameters: list[Any]) -> Callable[[Iterable[Any]], None]:
        """``torch.optim.AdamW``, all parameters in one call."""
        import torch

        optimizer = torch.optim.AdamW(
            parameters, self.rate, self.betas, self.eps, self.decay, fused=True
        )

        def update(gradients: Iterable[Any]) -> None:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()

        return update
