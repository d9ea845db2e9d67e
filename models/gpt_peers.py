"""``models.gpt`` in other libraries, for comparison; each is imported when it is used."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from . import trained_peers
from .gpt import BLOCK, HEADS


def torch_loss(parameters: list[Any], tokens: Any, following: Any) -> Any:
    """The network's loss in PyTorch."""
    import torch
    from torch.nn import functional

    characters, positions, scale, shift, W_head, *blocks = parameters
    (n, length), width = tokens.shape, characters.shape[1]
    x = (functional.embedding(tokens, characters) + positions[:length]).reshape(-1, width)
    for i in range(0, len(blocks), BLOCK):
        scale1, shift1, W_qkv, b_qkv, W_out, b_out = blocks[i : i + 6]
        scale2, shift2, W_up, b_up, W_down, b_down = blocks[i + 6 : i + BLOCK]
        z = functional.layer_norm(x, (width,), scale1, shift1)
        parts = torch.addmm(b_qkv, z, W_qkv).reshape(n, length, 3, HEADS, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + torch.addmm(b_out, z.reshape(-1, width), W_out)
        z = functional.layer_norm(x, (width,), scale2, shift2)
        z = functional.gelu(torch.addmm(b_up, z, W_up), approximate="tanh")
        x = x + torch.addmm(b_down, z, W_down)
    logits = functional.layer_norm(x, (width,), scale, shift) @ W_head
    return functional.cross_entropy(logits, following.reshape(-1))


def jax_loss(parameters: list[Any], tokens: Any, following: Any) -> Any:
    """The network's loss in JAX."""
    import jax
    import jax.numpy as jnp

    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = (centered * centered).mean(axis=-1, keepdims=True)
        return centered * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    characters, positions, scale, shift, W_head, *blocks = parameters
    (n, length), width = tokens.shape, characters.shape[1]
    seen = jnp.tri(length, dtype=bool)
    x = (characters[tokens] + positions[:length]).reshape(-1, width)
    for i in range(0, len(blocks), BLOCK):
        scale1, shift1, W_qkv, b_qkv, W_out, b_out = blocks[i : i + 6]
        scale2, shift2, W_up, b_up, W_down, b_down = blocks[i + 6 : i + BLOCK]
        parts = layer_norm(x, scale1, shift1) @ W_qkv + b_qkv
        q, k, v = parts.reshape(n, length, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(width // HEADS)
        z = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v
        x = x + z.swapaxes(1, 2).reshape(-1, width) @ W_out + b_out
        z = layer_norm(x, scale2, shift2) @ W_up + b_up
        x = x + jax.nn.gelu(z, approximate=True) @ W_down + b_down
    logs = jax.nn.log_softmax(layer_norm(x, scale, shift) @ W_head)
    return -jnp.take_along_axis(logs, following.reshape(-1, 1), axis=1).mean()


torch_eager = partial(trained_peers.torch_eager, torch_loss)
torch_compile = partial(trained_peers.torch_compile, torch_loss)
jax_jit = partial(trained_peers.jax_jit, jax_loss)
