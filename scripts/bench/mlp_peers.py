"""The fully connected network, trained by other libraries; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .libraries import Training
from .workloads import Array, Problem


def torch_loss(problem: Problem) -> Callable[[list[Any], Any, Any], Any]:
    """The network's loss as a function of its parameters and a batch."""
    import torch
    from torch.nn.functional import cross_entropy

    activation = {"sigmoid": torch.sigmoid, "relu": torch.relu}[problem.workload.activation]

    def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = activation(torch.addmm(b, x, W))
        return cross_entropy(torch.addmm(last_b, x, last_W), labels)

    return loss


def torch_tensors(x: Array, labels: Array) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(x), torch.from_numpy(labels)


def torch_eager(problem: Problem) -> Training:
    """``torch.autograd.grad`` and updates in place; ``torch.optim.SGD`` takes longer."""
    import torch

    parameters = [torch.from_numpy(array).requires_grad_() for array in problem.copies()]
    loss_of, rate = torch_loss(problem), problem.workload.rate

    def step(x: Any, labels: Any) -> Any:
        loss = loss_of(parameters, x, labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=rate)
        return loss.detach()

    return Training(problem, step, lambda: [p.detach().numpy() for p in parameters], torch_tensors)


def torch_compile(problem: Problem) -> Training:
    """The whole step compiled: ``torch.func`` makes one graph of it, including the update.

    Compiling a step with ``loss.backward()`` in it, or the loss alone, gives slower ones.
    """
    import torch

    parameters = [torch.from_numpy(array) for array in problem.copies()]
    gradients_and_loss = torch.func.grad_and_value(torch_loss(problem))
    rate = problem.workload.rate

    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        gradients, loss = gradients_and_loss(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate)
        return loss

    compiled = torch.compile(update)

    def step(x: Any, labels: Any) -> Any:
        return compiled(parameters, x, labels)

    return Training(problem, step, lambda: [p.numpy() for p in parameters], torch_tensors)


def jax_jit(problem: Problem) -> Training:
    """The whole step jitted; the old parameters' memory is donated to the new ones."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", problem.dtype == np.float64)
    activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[problem.workload.activation]
    parameters = [jnp.array(array) for array in problem.parameters]
    rate = problem.workload.rate

    def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = activation(x @ W + b)
        logs = jax.nn.log_softmax(x @ last_W + last_b)
        return -jnp.take_along_axis(logs, labels[:, None], axis=1).mean()

    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
        return loss, [p - rate * g for p, g in zip(parameters, gradients, strict=True)]

    jitted = jax.jit(update, donate_argnums=0)

    def step(x: Any, labels: Any) -> Any:
        nonlocal parameters
        loss, parameters = jitted(parameters, x, labels)
        return loss

    return Training(
        problem, step, lambda: [np.asarray(p) for p in parameters],
        lambda x, labels: (jnp.array(x), jnp.array(labels)),
        lambda loss: jax.block_until_ready((loss, parameters)),
    )  # fmt: skip


def autograd(problem: Problem) -> Training:
    """HIPS autograd: gradients of a function written in its NumPy."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters, rate = problem.copies(), problem.workload.rate
    sigmoid, n = problem.workload.activation == "sigmoid", problem.workload.batch
    rows = np.arange(n)

    def loss_of(parameters: list[Any], x: Array, labels: Array) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        z: Any = x
        for W, b in hidden:
            z = z @ W + b
            z = 1 / (1 + anp.exp(-z)) if sigmoid else anp.maximum(z, 0)
        logits = z @ last_W + last_b
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        total = anp.sum(anp.exp(shifted), axis=1)
        # A sum and a division, because its mean turns float32 gradients into float64.
        return anp.sum(anp.log(total) - shifted[rows, labels]) / n

    loss_and_gradients = value_and_grad(loss_of)

    def step(x: Array, labels: Array) -> Any:
        loss, gradients = loss_and_gradients(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            np.subtract(parameter, rate * gradient, out=parameter)
        return loss

    return Training(problem, step, lambda: parameters)


def mygrad(problem: Problem) -> Training:
    """MyGrad, with its memory guard off, as its manual advises for speed."""
    import mygrad as mg
    from mygrad.nnet import relu, sigmoid, softmax_crossentropy

    mg.turn_memory_guarding_off()
    parameters = [mg.tensor(array) for array in problem.copies()]
    *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
    activation = {"sigmoid": sigmoid, "relu": relu}[problem.workload.activation]

    def step(x: Array, labels: Array) -> Any:
        z: Any = x
        for W, b in hidden:
            z = activation(z @ W + b)
        loss = softmax_crossentropy(z @ last_W + last_b, labels)
        loss.backward()
        for parameter in parameters:
            parameter.data -= problem.workload.rate * parameter.grad
        return loss

    return Training(problem, step, lambda: [p.data for p in parameters])
