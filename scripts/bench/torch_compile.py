"""PyTorch, the whole step compiled: ``torch.func`` leaves one graph of it, update included.

To compile a step with ``loss.backward()`` in it, or the loss alone, gives slower ones.
"""

from __future__ import annotations

from typing import Any

import torch

from .libraries import Training
from .torch_eager import make_loss, tensors
from .workloads import LEARNING_RATE, Problem


def training(problem: Problem) -> Training:
    parameters = [torch.from_numpy(array) for array in problem.copies()]
    gradients_and_loss = torch.func.grad_and_value(make_loss(problem))

    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        gradients, loss = gradients_and_loss(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=LEARNING_RATE)
        return loss

    compiled = torch.compile(update)

    def step(x: Any, labels: Any) -> Any:
        return compiled(parameters, x, labels)

    return Training(step, tensors(problem), lambda: [p.numpy() for p in parameters])
