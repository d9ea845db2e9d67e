"""Training steps of any network in PyTorch and JAX, each imported when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from .trained import Array, Loss, Trained
from .updates import Update


def torch_tensors(x: Array, labels: Array) -> tuple[Any, Any]:
    """A batch for PyTorch."""
    import torch

    return torch.from_numpy(x), torch.from_numpy(labels)


def torch_eager(loss_of: Loss, start: list[Array], update: Update) -> Trained:
    """``torch.autograd.grad`` and updates in place."""
    import torch

    parameters = [torch.from_numpy(array).requires_grad_() for array in start]
    apply = update.torch(parameters)

    def step(x: Any, labels: Any) -> Any:
        loss = loss_of(parameters, x, labels)
        apply(torch.autograd.grad(loss, parameters))
        return loss.detach()

    return Trained(step, lambda: [p.detach().numpy() for p in parameters], torch_tensors)


def torch_compile(loss_of: Loss, start: list[Array], update: Update) -> Trained:
    """The whole step compiled: ``torch.func`` makes one graph of it, including the update.

    Compiling a step with ``loss.backward()`` in it, or the loss alone, gives slower ones.
    """
    import torch

    parameters = [torch.from_numpy(array) for array in start]
    buffers = [update.buffers(p) for p in parameters]
    gradients_and_loss = torch.func.grad_and_value(loss_of)

    def whole(parameters: list[Any], buffers: list[list[Any]], x: Any, labels: Any) -> Any:
        gradients, loss = gradients_and_loss(parameters, x, labels)
        for p, g, own in zip(parameters, gradients, buffers, strict=True):
            for place, value in zip((p, *own), update(p, g, *own), strict=True):
                place.copy_(value)
        return loss

    compiled = torch.compile(whole)

    def step(x: Any, labels: Any) -> Any:
        return compiled(parameters, buffers, x, labels)

    return Trained(step, lambda: [p.numpy() for p in parameters], torch_tensors)


def jax_jit(loss_of: Loss, start: list[Array], update: Update) -> Trained:
    """The whole step jitted; the memory of what it updates is donated to the new values."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", start[0].dtype == np.float64)
    state = [[p, *update.buffers(p)] for p in map(jnp.array, start)]

    def whole(state: list[list[Any]], x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)([own[0] for own in state], x, labels)
        return loss, [
            [*update(own[0], g, *own[1:])] for own, g in zip(state, gradients, strict=True)
        ]

    jitted = jax.jit(whole, donate_argnums=0)

    def step(x: Any, labels: Any) -> Any:
        nonlocal state
        loss, state = jitted(state, x, labels)
        return loss

    return Trained(
        step, lambda: [np.asarray(own[0]) for own in state],
        lambda x, labels: (jnp.array(x), jnp.array(labels)),
        lambda loss: jax.block_until_ready((loss, state)),
    )  # fmt: skip
