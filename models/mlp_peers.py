"""``models.mlp`` in other libraries, for comparison; each is imported when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import trained_peers
from .trained import Array, Loss, Trained
from .updates import SGD


def torch_loss(activation: str) -> Loss:
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


def jax_loss(activation: str) -> Loss:
    """The same for JAX."""
    import jax
    import jax.numpy as jnp

    function = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[activation]

    def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = function(x @ W + b)
        logs = jax.nn.log_softmax(x @ last_W + last_b)
        return -jnp.take_along_axis(logs, labels[:, None], axis=1).mean()

    return loss


def torch_eager(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """See ``trained_peers``."""
    return trained_peers.torch_eager(torch_loss(activation), start, SGD(rate))


def torch_compile(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """See ``trained_peers``."""
    return trained_peers.torch_compile(torch_loss(activation), start, SGD(rate))


def jax_jit(start: list[Array], batch: int, activation: str, rate: float) -> Trained:
    """See ``trained_peers``."""
    return trained_peers.jax_jit(jax_loss(activation), start, SGD(rate))


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
