"""``models.mlp`` in other libraries, for comparison; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .trained import Array, Trained


def torch_loss(activation: str) -> Callable[[list[Any], Any, Any], Any]:
    """The network's loss as a function of its parameters and a batch."""
    import torch
    from torch.nn.functional import cross_entropy

    function = {"sigmoid": torch.sigmoid, "relu": torch.relu}[activation]

    def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = function(torch.addmm(b, x, W))
        return cross_entropy(torch.addmm(last_b, x, last_W), labels)

    return loss


def torch_tensors(x: Array, labels: Array) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(x), torch.from_numpy(labels)


def torch_eager(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """``torch.autograd.grad`` and updates in place; ``torch.optim.SGD`` takes longer."""
    import torch

    parameters = [torch.from_numpy(array).requires_grad_() for array in start]
    loss_of = torch_loss(activation)

    def step(x: Any, labels: Any) -> Any:
        loss = loss_of(parameters, x, labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=rate)
        return loss.detach()

    return Trained(step, lambda: [p.detach().numpy() for p in parameters], torch_tensors)


def torch_compile(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """The whole step compiled: ``torch.func`` makes one graph of it, including the update.

    Compiling a step with ``loss.backward()`` in it, or the loss alone, gives slower ones.
    """
    import torch

    parameters = [torch.from_numpy(array) for array in start]
    gradients_and_loss = torch.func.grad_and_value(torch_loss(activation))

    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        gradients, loss = gradients_and_loss(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate)
        return loss

    compiled = torch.compile(update)

    def step(x: Any, labels: Any) -> Any:
        return compiled(parameters, x, labels)

    return Trained(step, lambda: [p.numpy() for p in parameters], torch_tensors)


def jax_jit(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """The whole step jitted; the old parameters' memory is donated to the new ones."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", start[0].dtype == np.float64)
    function = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[activation]
    parameters = [jnp.array(array) for array in start]

    def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = function(x @ W + b)
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

    return Trained(
        step, lambda: [np.asarray(p) for p in parameters],
        lambda x, labels: (jnp.array(x), jnp.array(labels)),
        lambda loss: jax.block_until_ready((loss, parameters)),
    )  # fmt: skip


def autograd(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """HIPS autograd: gradients of a function written in its NumPy."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters, sigmoid, rows = start, activation == "sigmoid", np.arange(batch)

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
        return anp.sum(anp.log(total) - shifted[rows, labels]) / batch

    loss_and_gradients = value_and_grad(loss_of)

    def step(x: Array, labels: Array) -> Any:
        loss, gradients = loss_and_gradients(parameters, x, labels)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            np.subtract(parameter, rate * gradient, out=parameter)
        return loss

    return Trained(step, lambda: parameters)


def mygrad(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """MyGrad, with its memory guard off, as its manual advises for speed."""
    import mygrad as mg
    from mygrad.nnet import relu, sigmoid, softmax_crossentropy

    mg.turn_memory_guarding_off()
    parameters = [mg.tensor(array) for array in start]
    *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
    function = {"sigmoid": sigmoid, "relu": relu}[activation]

    def step(x: Array, labels: Array) -> Any:
        z: Any = x
        for W, b in hidden:
            z = function(z @ W + b)
        loss = softmax_crossentropy(z @ last_W + last_b, labels)
        loss.backward()
        for parameter in parameters:
            parameter.data -= rate * parameter.grad
        return loss

    return Trained(step, lambda: [p.data for p in parameters])
