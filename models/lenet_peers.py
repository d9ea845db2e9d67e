"""``models.lenet`` in other libraries, for comparison; each is imported when it is used."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import trained_peers


def torch_loss(parameters: list[Any], x: Any, labels: Any) -> Any:
    """The network's loss in PyTorch."""
    import torch
    from torch.nn.functional import conv2d, cross_entropy, max_pool2d

    W1, b1, W2, b2, W3, b3, W4, b4, W5, b5 = parameters
    z = torch.relu(max_pool2d(conv2d(x.reshape(-1, 1, 28, 28), W1, b1, padding=2), 2))
    z = torch.relu(max_pool2d(conv2d(z, W2, b2), 2)).reshape(-1, 400)
    z = torch.relu(torch.addmm(b3, z, W3))
    z = torch.relu(torch.addmm(b4, z, W4))
    return cross_entropy(torch.addmm(b5, z, W5), labels)


def jax_loss(parameters: list[Any], x: Any, labels: Any) -> Any:
    """The network's loss in JAX, the channels last: faster there than channels first."""
    import jax
    import jax.numpy as jnp

    def conv(x: Any, W: Any, b: Any, padding: str) -> Any:
        W, layout = W.transpose(2, 3, 1, 0), ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, W, (1, 1), padding, dimension_numbers=layout) + b

    def max_pool(x: Any) -> Any:
        n, height, width, channels = x.shape
        return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))

    W1, b1, W2, b2, W3, b3, W4, b4, W5, b5 = parameters
    z = jax.nn.relu(max_pool(conv(x.reshape(-1, 28, 28, 1), W1, b1, "SAME")))
    z = jax.nn.relu(max_pool(conv(z, W2, b2, "VALID"))).transpose(0, 3, 1, 2).reshape(-1, 400)
    z = jax.nn.relu(z @ W3 + b3)
    z = jax.nn.relu(z @ W4 + b4)
    logs = jax.nn.log_softmax(z @ W5 + b5)
    return -jnp.take_along_axis(logs, labels[:, None], axis=1).mean()


torch_eager = partial(trained_peers.torch_eager, torch_loss)
torch_compile = partial(trained_peers.torch_compile, torch_loss)
jax_jit = partial(trained_peers.jax_jit, jax_loss)
