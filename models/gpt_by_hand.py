"""``models.gpt`` in plain NumPy, its backward pass derived by hand.

Written to be read: a function for each part of the network, followed by the one that takes the
gradient back through it. Features are rows, (n · length, width), of n texts one below another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gpt, trained
from .trained import Trained
from .updates import Update

Array = NDArray[Any]
Parameters = dict[str, Array]
"""``characters``, ``blocks.0.W_qkv`` and so on, as ``GPT.state_dict()`` returns them."""

EPS = 1e-5
ROOT, CUBE = math.sqrt(2 / math.pi), 0.044715
"""The constants of gelu."""


def layer_norm(x: Array, scale: Array, shift: Array) -> tuple[Array, Array, Array]:
    """scale z + shift, where z is x less its mean, divided by its deviation, row by row."""
    centered = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centered * centered).mean(axis=1, keepdims=True) + EPS)
    z = centered / deviation
    return scale * z + shift, z, deviation


def layer_norm_backward(g: Array, scale: Array, z: Array, deviation: Array) -> Array:
    """The gradient of x.

    z has mean 0 and variance 1 whatever x is. So x does not feel a change of all z alike, nor one
    along z: those two parts are taken out of the gradient.
    """
    dz = g * scale
    along = (dz * z).mean(axis=1, keepdims=True)
    dx: Array = (dz - dz.mean(axis=1, keepdims=True) - z * along) / deviation
    return dx


def gelu(x: Array) -> tuple[Array, Array]:
    """½ x (1 + t), where t = tanh(√(2/π) (x + 0.044715 x³))."""
    t = np.tanh(ROOT * (x + CUBE * x * x * x))
    return 0.5 * x * (1 + t), t


def gelu_backward(g: Array, x: Array, t: Array) -> Array:
    """The gradient of x, by the product rule; tanh' = 1 - t²."""
    slope: Array = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * CUBE * x * x)
    return g * slope


def attention(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """a v, where a = softmax(q kᵀ / √size); each position sees itself and earlier ones.

    q, k and v are (n, heads, length, size); the softmax is over the last axis.
    """
    length, size = q.shape[-2:]
    scores = q @ k.mT / math.sqrt(size)
    scores[..., ~np.tri(length, dtype=bool)] = -np.inf
    a = np.exp(scores - scores.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    return a @ v, a


def attention_backward(
    g: Array, q: Array, k: Array, v: Array, a: Array
) -> tuple[Array, Array, Array]:
    """The gradients of q, k and v. Where the mask hides a position, a is 0, and so is dscores."""
    dv = a.mT @ g
    da = g @ v.mT
    dscores = a * (da - (a * da).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[-1])
    return dscores @ k, dscores.mT @ q, dv


def split_heads(x: Array, length: int, heads: int) -> Array:
    """Rows (n · length, heads · size) to (n, heads, length, size)."""
    return x.reshape(-1, length, heads, x.shape[1] // heads).swapaxes(1, 2)


def join_heads(x: Array) -> Array:
    """(n, heads, length, size) back to rows."""
    n, heads, length, size = x.shape
    return x.swapaxes(1, 2).reshape(n * length, heads * size)


def block(p: Parameters, x: Array, length: int, heads: int) -> tuple[Array, tuple[Array, ...]]:
    """x plus attention, plus a layer of hidden units; and what the backward pass needs."""
    y1, z1, deviation1 = layer_norm(x, p["scale1"], p["shift1"])
    qkv = y1 @ p["W_qkv"] + p["b_qkv"]
    q, k, v = (split_heads(part, length, heads) for part in np.split(qkv, 3, axis=1))
    mixed, a = attention(q, k, v)
    joined = join_heads(mixed)
    x = x + (joined @ p["W_out"] + p["b_out"])

    y2, z2, deviation2 = layer_norm(x, p["scale2"], p["shift2"])
    hidden = y2 @ p["W_up"] + p["b_up"]
    active, t = gelu(hidden)
    out = x + (active @ p["W_down"] + p["b_down"])
    return out, (y1, z1, deviation1, q, k, v, a, joined, y2, z2, deviation2, hidden, active, t)


def block_backward(
    g: Array, p: Parameters, kept: tuple[Array, ...], length: int, heads: int
) -> tuple[Array, Parameters]:
    """The gradients of a block's x and of its parameters; g flows through both sums."""
    y1, z1, deviation1, q, k, v, a, joined, y2, z2, deviation2, hidden, active, t = kept
    dactive = g @ p["W_down"].T
    dhidden = gelu_backward(dactive, hidden, t)
    dy2 = dhidden @ p["W_up"].T
    g_x = g + layer_norm_backward(dy2, p["scale2"], z2, deviation2)

    djoined = g_x @ p["W_out"].T
    parts = attention_backward(split_heads(djoined, length, heads), q, k, v, a)
    dqkv = np.concatenate([join_heads(part) for part in parts], axis=1)
    dy1 = dqkv @ p["W_qkv"].T
    return g_x + layer_norm_backward(dy1, p["scale1"], z1, deviation1), {
        "scale1": (dy1 * z1).sum(axis=0),
        "shift1": dy1.sum(axis=0),
        "W_qkv": y1.T @ dqkv,
        "b_qkv": dqkv.sum(axis=0),
        "W_out": joined.T @ g_x,
        "b_out": g_x.sum(axis=0),
        "scale2": (dy2 * z2).sum(axis=0),
        "shift2": dy2.sum(axis=0),
        "W_up": y2.T @ dhidden,
        "b_up": dhidden.sum(axis=0),
        "W_down": active.T @ g,
        "b_down": g.sum(axis=0),
    }


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean of -log softmax(logits)[label] over the rows, and the gradient of the logits.

    -log softmax(a)[label] = log Σ exp a - a[label], whose derivative is softmax(a) - one-hot.
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[rows, labels]).mean())
    g = powers / total
    g[rows, labels] -= 1
    return loss, g / len(rows)


def loss_and_gradients(
    p: Parameters, tokens: Array, following: Array, heads: int
) -> tuple[float, Parameters]:
    """The mean cross-entropy of the characters that follow, and its gradient for each parameter.

    ``tokens`` and ``following`` are integers (n, length).
    """
    n, length = tokens.shape
    depth = len({name.split(".")[1] for name in p if name.startswith("blocks.")})
    blocks = [
        {name.removeprefix(start): array for name, array in p.items() if name.startswith(start)}
        for start in (f"blocks.{i}." for i in range(depth))
    ]

    # Forward
    x = (p["characters"][tokens] + p["positions"][:length]).reshape(n * length, -1)
    kept = []
    for part in blocks:
        x, intermediate = block(part, x, length, heads)
        kept.append(intermediate)
    y, z, deviation = layer_norm(x, p["scale"], p["shift"])
    loss, g = cross_entropy(y @ p["W_head"], following.reshape(-1))

    # Backward
    dy = g @ p["W_head"].T
    gradients = {
        "W_head": y.T @ g,
        "scale": (dy * z).sum(axis=0),
        "shift": dy.sum(axis=0),
    }
    dx = layer_norm_backward(dy, p["scale"], z, deviation)
    for i in reversed(range(depth)):
        dx, of_block = block_backward(dx, blocks[i], kept[i], length, heads)
        gradients |= {f"blocks.{i}.{name}": gradient for name, gradient in of_block.items()}

    # A character's row adds up the gradients of all places where it stands, a position's of all n
    dx = dx.reshape(n, length, -1)
    gradients["characters"] = np.zeros_like(p["characters"])
    np.add.at(gradients["characters"], tokens, dx)
    gradients["positions"] = np.zeros_like(p["positions"])
    gradients["positions"][:length] = dx.sum(axis=0)
    return loss, gradients


def by_hand(start: list[Array], update: Update) -> Trained:
    """A training step that begins with these parameters."""
    depth = (len(start) - 5) // gpt.BLOCK
    names = [name for name, _ in gpt.GPT(1, depth, gpt.HEADS, gpt.HEADS, 1).named_parameters()]

    def gradients(parameters: list[Array], x: Array, labels: Array) -> tuple[float, list[Array]]:
        named = dict(zip(names, parameters, strict=True))
        loss, found = loss_and_gradients(named, x, labels, gpt.HEADS)
        return loss, [found[name] for name in names]

    return trained.by_hand(gradients, start, update)
