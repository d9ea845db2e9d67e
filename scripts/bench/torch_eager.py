"""PyTorch, eager: ``torch.autograd.grad`` and an update in place, its quickest way on a CPU.

``torch.optim.SGD`` takes longer, by what it does around the same update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from .libraries import Training
from .workloads import LEARNING_RATE, Problem


def training(problem: Problem) -> Training:
    parameters = [torch.from_numpy(array).requires_grad_() for array in problem.copies()]
    loss_of = make_loss(problem)

    def step(x: Any, labels: Any) -> Any:
        loss = loss_of(parameters, x, labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=LEARNING_RATE)
        return loss.detach()

    return Training(step, tensors(problem), lambda: [p.detach().numpy() for p in parameters])


def make_loss(problem: Problem) -> Callable[[list[Any], Any, Any], Any]:
    """The network's loss as a function of its parameters and a batch."""
    activation = {"sigmoid": torch.sigmoid, "relu": torch.relu}[problem.workload.activation]

    def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = activation(torch.addmm(b, x, W))
        return cross_entropy(torch.addmm(last_b, x, last_W), labels)

    return loss


def tensors(problem: Problem) -> list[tuple[Any, Any]]:
    """The batches as torch's tensors."""
    return [(torch.from_numpy(x), torch.from_numpy(labels)) for x, labels in problem.batches]
