"""JAX: the whole step jitted, the old parameters' memory given to the new ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import Training
from .workloads import LEARNING_RATE, Problem


def training(problem: Problem) -> Training:
    jax.config.update("jax_enable_x64", problem.dtype == np.float64)
    activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[problem.workload.activation]
    parameters = [jnp.array(array) for array in problem.parameters]

    def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (last_W, last_b) = zip(parameters[::2], parameters[1::2], strict=True)
        for W, b in hidden:
            x = activation(x @ W + b)
        logs = jax.nn.log_softmax(x @ last_W + last_b)
        return -jnp.take_along_axis(logs, labels[:, None], axis=1).mean()

    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
        new = [p - LEARNING_RATE * g for p, g in zip(parameters, gradients, strict=True)]
        return loss, new

    jitted = jax.jit(update, donate_argnums=0)

    def step(x: Any, labels: Any) -> Any:
        nonlocal parameters
        loss, parameters = jitted(parameters, x, labels)
        return loss

    def wait(loss: Any) -> None:
        jax.block_until_ready((loss, parameters))

    batches = [(jnp.array(x), jnp.array(labels)) for x, labels in problem.batches]
    return Training(step, batches, lambda: [np.asarray(p) for p in parameters], wait)
