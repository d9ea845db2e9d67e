"""``models.convolution`` in other libraries, for comparison; each is imported when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from .trained import Array, Trained
from .trained_peers import torch_tensors


def torch_eager(start: list[Array]) -> Trained:
    """``torch.autograd.grad``."""
    import torch

    weight, bias = (torch.from_numpy(array).requires_grad_() for array in start[:2])
    results: list[Any] = []

    def step(x: Any, g: Any) -> Any:
        y = torch.nn.functional.conv2d(x, weight, bias, padding=1)
        results[:] = y.detach(), *torch.autograd.grad(y, (x, weight, bias), g)
        return results[0]

    return Trained(
        step, lambda: [p.detach().numpy() for p in (weight, bias, *results)],
        lambda x, g: (torch.from_numpy(x).requires_grad_(), torch.from_numpy(g)),
        read=lambda y: float(y.sum()),
    )  # fmt: skip


def torch_compile(start: list[Array]) -> Trained:
    """Both directions compiled into one graph by ``torch.func``."""
    import torch

    weight, bias = (torch.from_numpy(array) for array in start[:2])
    results: list[Any] = []

    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        return torch.nn.functional.conv2d(x, weight, bias, padding=1)

    def run(x: Any, weight: Any, bias: Any, g: Any) -> Any:
        y, pull = torch.func.vjp(convolve, x, weight, bias)
        return y, *pull(g)

    compiled = torch.compile(run)

    def step(x: Any, g: Any) -> Any:
        results[:] = compiled(x, weight, bias, g)
        return results[0]

    return Trained(
        step, lambda: [p.numpy() for p in (weight, bias, *results)], torch_tensors,
        read=lambda y: float(y.sum()),
    )  # fmt: skip


def jax_jit(start: list[Array]) -> Trained:
    """Both directions jitted. Images are kept with the channels last: faster than first."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", start[0].dtype == np.float64)
    weight, bias = map(jnp.array, start[:2])
    results: list[Any] = []

    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        weight, layout = weight.transpose(2, 3, 1, 0), ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout)
        return y + bias

    def run(x: Any, weight: Any, bias: Any, g: Any) -> Any:
        y, pull = jax.vjp(convolve, x, weight, bias)
        return y, *pull(g)

    jitted = jax.jit(run)

    def step(x: Any, g: Any) -> Any:
        results[:] = jitted(x, weight, bias, g)
        return results[0]

    def parameters() -> list[Array]:
        y, dx, dweight, dbias = map(np.asarray, results)
        images = [array.transpose(0, 3, 1, 2) for array in (y, dx)]
        return [np.asarray(weight), np.asarray(bias), *images, dweight, dbias]

    return Trained(
        step, parameters,
        lambda x, g: (jnp.array(x.transpose(0, 2, 3, 1)), jnp.array(g.transpose(0, 2, 3, 1))),
        lambda y: jax.block_until_ready(results), lambda y: float(y.sum()),
    )  # fmt: skip
