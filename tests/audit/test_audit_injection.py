"""Mistakes are put into a right hand derivation, one by one; the audit has to name each.

The network has three layers, with sigmoid, tanh or relu, dropout, weight decay and, where the
hidden layers are of one width, a connection past the second one. Its backward pass is derived by
hand below, with a switch at every place where people slip.

Some mistakes are the same as others, number for number. They count as the simpler kind: −1 times
a gradient is a "sign"; a mean for a sum, or dropout's mask applied twice, a "factor" (the inverse
of the batch size, 1 / (1 − p)); relu's mask applied twice is not a mistake at
all. A slip that leaves nothing of a gradient, because only dead units were left, is a "path": such
draws are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.random import masked

Array = Any
Arrays = dict[str, Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Any] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
SLOPES: dict[str, Any] = {  # from the layer's input z and output h
    "sigmoid": lambda z, h: h * (1 - h),
    "tanh": lambda z, h: 1 - h**2,
    "relu": lambda z, h: z > 0,
}


@dataclass
class Network:
    """A network drawn at random, with data; its loss as a tensor expression, and by hand."""

    rng: np.random.Generator
    p: float = 0.0
    decay: float = 0.0
    skip: bool = False
    square: bool = False
    weights: Arrays = field(init=False)

    def __post_init__(self) -> None:
        draw = self.rng.integers
        self.n, features, first, second, classes = (int(draw(3, 8)) for _ in range(5))
        if self.skip or self.square:
            second = first
        if self.square:
            features = classes = first
        self.kinds = [str(self.rng.choice(list(ACTIVATIONS))) for _ in range(2)]
        sizes = [features, first, second, classes]
        self.weights = {}
        for layer in (1, 2, 3):
            shape = sizes[layer - 1], sizes[layer]
            self.weights[f"W{layer}"] = self.rng.normal(size=shape) / np.sqrt(shape[0]) * 1.5
            self.weights[f"b{layer}"] = self.rng.normal(size=shape[1]) * 0.3
        self.x = self.rng.normal(size=(self.n, features))
        self.y = self.rng.integers(classes, size=self.n)
        self.masks = [self.rng.random((self.n, width)) >= self.p for width in (first, second)]

    def loss(self, **w: Any) -> Any:
        """The loss, and the Tensors z1, h1, z2, h2, z3 (h as the next layer sees it)."""
        named = {}
        h: Any = self.x
        for layer in (1, 2, 3):
            z = named[f"z{layer}"] = h @ w[f"W{layer}"] + w[f"b{layer}"]
            if layer == 3:
                break
            new = getattr(tg, self.kinds[layer - 1])(z)
            if self.p:
                new = masked(new, self.masks[layer - 1], self.p)
            h = named[f"h{layer}"] = new + h if self.skip and layer == 2 else new
        loss = tg.softmax_cross_entropy(z, self.y)
        if self.decay:
            for layer in (1, 2, 3):
                loss = loss + 0.5 * self.decay * tg.square(w[f"W{layer}"]).sum()
        return loss, named

    def by_hand(self, slip: Callable[[str, Any], Any]) -> tuple[Arrays, Arrays]:
        """The gradients, and the deltas, each step passed through ``slip`` with its name."""
        w, n = self.weights, self.n
        inputs, z, h = {1: self.x}, {}, {}
        for layer in (1, 2):
            z[layer] = inputs[layer] @ w[f"W{layer}"] + w[f"b{layer}"]
            h[layer] = ACTIVATIONS[self.kinds[layer - 1]](z[layer])
            kept = h[layer] * self.masks[layer - 1] / (1 - self.p) if self.p else h[layer]
            inputs[layer + 1] = kept + inputs[layer] if self.skip and layer == 2 else kept
        self.z, self.h, self.inputs = z, h, inputs
        scores = np.exp(inputs[3] @ w["W3"] + w["b3"])
        softmax = scores / scores.sum(axis=1, keepdims=True)
        delta = (softmax - np.eye(scores.shape[1])[self.y]) / n
        past: Array = 0
        gradients: Arrays = {}
        deltas: Arrays = {}
        for layer in (3, 2, 1):
            delta = deltas[f"z{layer}"] = slip(f"delta{layer}", delta)
            seen = slip(f"input{layer}", inputs[layer])
            self.delta, self.seen = delta, seen
            gradient = slip(f"dW{layer}", seen.T @ delta)
            gradients[f"W{layer}"] = slip(
                f"W{layer}",
                slip(f"main{layer}", gradient) + slip(f"decay{layer}", self.decay * w[f"W{layer}"]),
            )
            gradients[f"b{layer}"] = slip(f"b{layer}", slip(f"db{layer}", delta).sum(axis=0))
            if layer == 1:
                break
            below = delta @ slip(f"weight{layer}", w[f"W{layer}"]).T + past
            past = slip("skip", below) if self.skip and layer == 3 else 0
            deltas[f"h{layer - 1}"] = below
            if self.p:
                below = below * slip(f"dropout{layer - 1}", self.masks[layer - 2] / (1 - self.p))
            slope = SLOPES[self.kinds[layer - 2]](z[layer - 1], h[layer - 1])
            delta = below * slip(f"slope{layer - 1}", slope)
        return gradients, deltas


def right(name: str, value: Any) -> Any:
    return value


Change = Callable[[Network, Any], Any]


def factor(net: Network, value: Any) -> Any:
    numbers = [2, 0.5, 3, net.n, 1 / net.n, -2, net.rng.uniform(0.1, 3), 1 - net.p or 1]
    return value * net.rng.choice([c for c in numbers if c != 1])


def few(net: Network, value: Any) -> Any:
    value = value.copy()
    count = int(net.rng.integers(1, max(2, min(3, value.size // 3) + 1)))
    places = net.rng.choice(value.size, count, replace=False)
    value.flat[places] += net.rng.normal(size=count)
    return value


def extra_mask(layer: int) -> Change:
    """relu's mask on another activation."""
    return lambda net, slope: slope * (net.z[layer] > 0)


def input_before(layer: int, what: str) -> Change:
    """The next layer's input as it was before the activation ("z"), or before dropout ("h")."""
    return lambda net, value: getattr(net, what)[layer]


def slope_at(layer: int, what: str) -> Change:
    """An activation's derivative at the wrong value."""

    def change(net: Network, slope: Any) -> Any:
        kind, z, h = net.kinds[layer - 1], net.z[layer], net.h[layer]
        match what:
            case "twice":  # σ'(σ(x))
                return SLOPES[kind](h, ACTIVATIONS[kind](h))
            case "input":  # x (1 - x)
                return SLOPES[kind](z, z)
        return SLOPES[kind](z, h * net.masks[layer - 1] / (1 - net.p))  # 1 - h² after scaling

    return change


LAYERS = (1, 2, 3)
HIDDEN = (1, 2)
Slip = tuple[str, str, Change, dict[str, Any]]
SLIPS: list[Slip] = []
"""The kind, the step it is made at, the change, and what the network must have for it."""


def add(kind: str, step: str, change: Change, **needs: Any) -> None:
    SLIPS.append((kind, step, change, needs))


for layer in LAYERS:
    for step in (f"delta{layer}", f"W{layer}", f"b{layer}"):
        add("factor", step, factor)
        add("sign", step, lambda net, value: -value)
    add("factor", f"db{layer}", lambda net, value: value / net.n)  # mean for sum
    add("transpose", f"W{layer}", lambda net, value: value.T)
    add("transpose", f"W{layer}", lambda net, value: value.T, square=True)
    add("sum", f"b{layer}", lambda net, value: net.delta)
    add("sum", f"b{layer}", lambda net, value: net.delta[0])
    add("sum", f"b{layer}", lambda net, value: net.delta[-1])
    add("sum", f"dW{layer}", lambda net, value: np.outer(net.seen[0], net.delta[0]))
    add("sum", f"W{layer}", lambda net, value: net.seen[:, :, None] * net.delta[:, None])
    add("sum", f"b{layer}", lambda net, value: value.sum())
    add("path", f"decay{layer}", lambda net, value: 0 * value, decay=0.1)
    add("path", f"main{layer}", lambda net, value: 0 * value, decay=0.1)
    add("elements", f"W{layer}", few)
for layer in HIDDEN:
    add("transpose", f"weight{layer + 1}", lambda net, value: value.T, square=True)
    add("mask", f"slope{layer}", lambda net, slope: 1.0, act="relu", layer=layer)
    add("mask", f"slope{layer}", lambda net, slope: slope * 0 + 1, act="relu", layer=layer, p=0.3)
    add("mask", f"dropout{layer}", lambda net, mask: 1.0, p=0.4)
    add("factor", f"dropout{layer}", lambda net, mask: mask * (1 - net.p), p=0.5)
    add("factor", f"dropout{layer}", lambda net, mask: mask / (1 - net.p), p=0.25)
    for smooth in ("sigmoid", "tanh"):
        add("mask", f"slope{layer}", extra_mask(layer), act=smooth, layer=layer)
        add("value", f"slope{layer}", slope_at(layer, "twice"), act=smooth, layer=layer)
        add("value", f"slope{layer}", slope_at(layer, "input"), act=smooth, layer=layer)
        add("value", f"slope{layer}", slope_at(layer, "scaled"), act=smooth, layer=layer, p=0.5)
        add("derivative", f"slope{layer}", lambda net, slope: 1.0, act=smooth, layer=layer)
    add("value", f"input{layer + 1}", input_before(layer, "z"))
    add("value", f"input{layer + 1}", input_before(layer, "h"), p=0.4)
add("path", "skip", lambda net, value: 0 * value, skip=True)


def network(rng: np.random.Generator, needs: dict[str, Any]) -> Network:
    """A network that has what a slip needs."""
    net = Network(rng, **{k: v for k, v in needs.items() if k not in ("act", "layer")})
    if "act" in needs:
        net.kinds[needs["layer"] - 1] = needs["act"]
    return net


def slipped(net: Network, slips: dict[str, Change]) -> Arrays:
    """The gradients by hand, with these changes at these steps."""
    return net.by_hand(lambda name, v: slips[name](net, v) if name in slips else v)[0]


def shows(kind: str, wrong: Arrays, true: Arrays) -> bool:
    """Whether a slip changes a gradient, and leaves something of it."""
    names = [name for name in true if wrong[name].shape == true[name].shape]
    apart = [np.abs(wrong[n] - true[n]).max() > 1e-4 * np.abs(true[n]).max() for n in names]
    nothing = [not wrong[n].any() and true[n].any() for n in names]
    return (len(names) < len(true) or any(apart)) and (kind == "path" or not any(nothing))


def drawn(seed: int, slip: Slip) -> tuple[Network, Arrays]:
    """A network, and its gradients with the slip in them, so that it shows."""
    kind, step, change, needs = slip
    for attempt in range(100):
        net = network(np.random.default_rng([seed, attempt]), needs)
        wrong = slipped(net, {step: change})
        if shows(kind, wrong, slipped(net, {})):
            return net, wrong
    raise AssertionError(f"{kind} at {step}: no network shows it")


TRIALS = 2


@pytest.mark.slow
def test_each_kind_of_mistake_is_named() -> None:
    """At every layer where it applies: all found, 97 of 100 named, with what they explain."""
    misnamed, trials = [], 0
    for number, slip in enumerate(SLIPS):
        for trial in range(TRIALS):
            net, wrong = drawn(1000 * number + trial, slip)
            report = tg.audit(net.loss, net.weights, wrong)
            assert not report, f"{slip[0]} at {slip[1]} was not found"
            true = slipped(net, {})
            for name, verdict in ((v.name, v) for v in report.verdicts):
                same = wrong[name].shape == true[name].shape and np.allclose(
                    wrong[name], true[name], 1e-9, 1e-12
                )
                assert verdict.right == same
            trials += 1
            if [mistake.kind for mistake in report.mistakes] != [slip[0]]:
                misnamed.append(f"{slip[:2]}: {report}")
    assert trials > 175
    assert len(misnamed) <= 0.03 * trials, "\n\n".join(misnamed)


def test_every_kind_is_tried_at_every_layer() -> None:
    layers = {kind: {step[-1] for k, step, _, _ in SLIPS if k == kind} for kind, *_ in SLIPS}
    for kind in ("factor", "sign", "transpose", "sum", "path", "elements"):
        assert layers[kind] >= {"1", "2", "3"}, kind
    for kind in ("mask", "derivative", "value"):
        assert layers[kind] >= {"1", "2"}, kind


@pytest.mark.parametrize("seeds", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_false_alarm_on_correct_gradients(seeds: int) -> None:
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        net = Network(
            rng,
            p=float(rng.choice([0, 0.3, 0.5])),
            decay=float(rng.choice([0, 0.1])),
            skip=bool(rng.integers(2)),
        )
        report = tg.audit(net.loss, net.weights, slipped(net, {}))
        assert report, f"seed {seed}:\n{report}"


@pytest.mark.slow
def test_two_mistakes_at_once() -> None:
    """Both are found, or a simpler explanation that gives the same numbers."""
    explained, rng = 0, np.random.default_rng(0)
    compatible = [slip for slip in SLIPS if not slip[3].keys() - {"p"}]
    for seed in range(20):
        picked = [compatible[i] for i in rng.choice(len(compatible), 2, replace=False)]
        net = Network(np.random.default_rng(seed), p=0.4)
        wrong = slipped(net, {step: change for _, step, change, _ in picked})
        report = tg.audit(net.loss, net.weights, wrong)
        assert not report
        kinds = [mistake.kind for mistake in report.mistakes]
        explained += "unknown" not in kinds and len(kinds) <= 2
    assert explained >= 18


def test_the_first_wrong_delta_is_named() -> None:
    """With deltas, the walk from the loss down stops at the layer of the slip, and at its rule."""
    for layer in HIDDEN:
        for seed in range(10):
            net = Network(np.random.default_rng(seed))
            net.kinds[layer - 1] = "tanh"

            def slip(name: str, value: Any, at: str = f"slope{layer}") -> Any:
                return 1.0 if name == at else value

            gradients, deltas = net.by_hand(slip)
            report = tg.audit(net.loss, net.weights, gradients, deltas=deltas)
            assert report.first is not None and report.first.name == f"z{layer}"
            assert [m.kind for m in report.mistakes] == ["derivative"]
            assert report.mistakes[0].rule == "tanh: dx = g * (1 - out * out)"
            alone = tg.audit(net.loss, net.weights, deltas=deltas)
            assert alone.first is not None and alone.first.name == f"z{layer}"
