"""Modules: names, state, modes, layers, initialisers, summaries."""

import copy
import functools
import math
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import nn


class Block(nn.Module):
    def __init__(self, rng: Any = 0) -> None:
        self.first = nn.Linear(4, 3, rng=rng)
        self.scale = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
        self.offset = tg.Tensor(np.zeros(3, np.float32))  # a constant: no parameter
        self.parts = [nn.Linear(3, 3, bias=False, rng=1), nn.Dropout(0.5, rng=2), "a word"]

    def forward(self, x: Any) -> Any:
        h = self.first(x) * self.scale + self.offset
        for part in self.parts[:2]:
            h = part(h)  # type: ignore[operator]
        return h


class Net(nn.Module):
    def __init__(self) -> None:
        self.block = Block()
        self.out = nn.Sequential(nn.Linear(3, 2, rng=3), nn.LogSoftmax())

    def forward(self, x: Any) -> Any:
        return self.out(self.block(x))


NAMES = [
    "block.scale", "block.first.weight", "block.first.bias", "block.parts.0.weight",
    "out.0.weight", "out.0.bias",
]  # fmt: skip


def test_parameters_are_found_by_path() -> None:
    net = Net()
    assert sorted(name for name, _ in net.named_parameters()) == sorted(NAMES)
    assert [p is q for p, (_, q) in zip(net.parameters(), net.named_parameters(), strict=True)]
    assert [path for path, _ in net.named_modules()] == [
        "", "block", "block.first", "block.parts.0", "block.parts.1", "out", "out.0", "out.1",
    ]  # fmt: skip


def test_a_computed_tensor_is_not_a_parameter() -> None:
    net = Block()
    names = [*net.state_dict()]
    net.last = net(np.ones((2, 4), np.float32))  # type: ignore[attr-defined]
    assert [*net.state_dict()] == names


def test_shared_parameters_come_once() -> None:
    layer = nn.Linear(3, 3, rng=0)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    net(np.ones((2, 3), np.float32)).sum().backward()
    assert layer.weight.grad is not None
    assert net.summary().splitlines()[-1].split() == ["total", "12"]


def test_tied_weights_get_both_gradients() -> None:
    a, b = nn.Linear(3, 3, bias=False, rng=0), nn.Linear(3, 3, bias=False, rng=1)
    b.weight = a.weight
    x = np.ones((1, 3), np.float32)
    nn.Sequential(a, b)(x).sum().backward()
    w = a.weight.data
    expected = np.outer(np.ones(3), x @ w.T) + np.outer(w.sum(axis=0), x)
    assert_close(a.weight.grad, expected, 1e-5)


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert all(m.training for _, m in net.named_modules())
    assert net.eval() is net
    assert not any(m.training for _, m in net.named_modules())
    x = np.ones((5, 4), np.float32)
    assert np.array_equal(net(x).data, net(x).data)
    assert net.train() is net
    assert not np.array_equal(net(x).data, net(x).data)


def test_zero_grad() -> None:
    net = Net().eval()
    net(np.ones((1, 4), np.float32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


# State


def test_state_makes_the_round_trip() -> None:
    net, other = Net(), Net()
    for p in net.parameters():
        p.data += 1
    state = net.state_dict()
    tensors = other.parameters()
    other.load_state_dict(state)
    assert all(a is b for a, b in zip(tensors, other.parameters(), strict=True))
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(one.data, two.data)
    state["out.0.bias"][:] = 99  # a copy: nobody's array
    assert not (net.out[0].bias.data == 99).any()  # type: ignore[attr-defined]
    assert not (other.out[0].bias.data == 99).any()  # type: ignore[attr-defined]


def test_state_that_does_not_fit_is_refused_as_a_whole() -> None:
    net = Net()
    before = net.state_dict()
    state = net.state_dict()
    del state["out.0.bias"]
    state["block.first.weight"] = np.ones((4, 3), np.float32)
    state["block.scale"] = np.ones(3, np.float64)
    state["other"] = np.ones(3)
    state["out.0.weight"] += 1
    with pytest.raises(ValueError, match="does not fit this module") as caught:
        net.load_state_dict(state)
    words = str(caught.value)
    assert "missing: out.0.bias" in words
    assert "unexpected: other" in words
    assert (
        "block.first.weight: expected float32 of shape (3, 4), got float32 of shape (4, 3)" in words
    )
    assert "block.scale: expected float32 of shape (3,), got float64" in words
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_modules_can_be_copied(duplicate: Any) -> None:
    net = Net().eval()
    twin = duplicate(net)
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(net(x).data, twin(x).data)
    twin.parameters()[0].data += 1
    assert not np.array_equal(net(x).data, twin(x).data)


# Layers


def test_linear_is_x_times_the_transposed_weight_plus_bias() -> None:
    layer = nn.Linear(3, 2, rng=0, dtype=np.float64)
    assert layer.bias is not None
    layer.bias.data[:] = [10, 20]
    x = np.arange(12.0).reshape(2, 2, 3)
    assert_close(layer(x).data, x @ layer.weight.data.T + [10, 20])
    assert nn.Linear(3, 2, bias=False).bias is None
    assert layer.weight.shape == (2, 3)


def test_layers_are_float32_unless_told_otherwise() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Dropout(), nn.Softmax())
    out = net(np.ones((1, 3), np.float32))
    assert out.dtype == np.float32
    out.sum().backward()
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert all(p.grad is not None and p.grad.dtype == np.float32 for p in net.parameters())


ACTIVATIONS = {
    "Sigmoid": tg.sigmoid, "Tanh": tg.tanh, "LogSigmoid": tg.log_sigmoid, "ReLU": tg.relu,
    "LeakyReLU": tg.leaky_relu, "ELU": tg.elu, "GELU": tg.gelu, "SiLU": tg.silu,
    "Softplus": tg.softplus, "Softmax": tg.softmax, "LogSoftmax": tg.log_softmax,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_functions(name: str) -> None:
    module = getattr(nn, name)()
    x = np.linspace(-2, 2, 6).reshape(2, 3)
    assert np.array_equal(module(x).data, ACTIVATIONS[name](x).data)
    assert module.parameters() == []
    assert repr(module) == f"{name}()"


def test_sequential_is_a_sequence() -> None:
    layers = [nn.Linear(2, 2), nn.ReLU()]
    net = nn.Sequential(*layers)
    assert len(net) == 2
    assert net[1] is layers[1]
    assert "0: Linear" in repr(net)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Linear(0, 3), ValueError, r"Linear\(0, 3\): both must be at least 1"),
        (lambda: nn.Dropout(1.5), ValueError, "p=1.5 must be at least 0 and at most 1"),
        (lambda: nn.Sequential(tg.relu), TypeError, r"takes Modules.*write nn\.ReLU\(\)"),  # type: ignore[arg-type]
        (lambda: nn.Module()(1.0), NotImplementedError, "Module defines no forward"),
        (lambda: nn.Linear(3, 2)(np.ones((2, 4), "f")), ValueError, r"linear: .*\n    x: .*2, 4"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


# Initialisers


@pytest.mark.parametrize(
    ("init", "std"),
    [
        (nn.normal(0.01), 0.01),
        (nn.he_normal(), math.sqrt(2 / 300)),
        (nn.lecun_normal(), math.sqrt(1 / 300)),
        (nn.xavier_uniform(), math.sqrt(2 / 500)),  # a uniform one of bound b has std b / √3
        (nn.zeros(), 0.0),
    ],
)
def test_initialisers_have_the_published_spread(init: Any, std: float) -> None:
    drawn = init((200, 300), np.random.default_rng(0))
    assert drawn.shape == (200, 300)
    assert abs(drawn.mean()) <= 4 * std / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(std, rel=0.02)


def test_xavier_stays_within_its_bound() -> None:
    drawn = nn.xavier_uniform(2.0)((20, 30), np.random.default_rng(0))
    bound = 2 * math.sqrt(6 / 50)
    assert 0.95 * bound < np.abs(drawn).max() <= bound


def test_seeds_make_layers_the_same() -> None:
    assert np.array_equal(nn.Linear(3, 2, rng=5).weight.data, nn.Linear(3, 2, rng=5).weight.data)
    tg.manual_seed(7)
    first = nn.Linear(3, 2)
    tg.manual_seed(7)
    assert np.array_equal(first.weight.data, nn.Linear(3, 2).weight.data)
    assert not np.array_equal(first.weight.data, nn.Linear(3, 2).weight.data)


# Summary


def test_summary_lists_layers_shapes_and_counts() -> None:
    net = nn.Sequential(nn.Linear(784, 50), nn.Sigmoid(), nn.Linear(50, 100), nn.Linear(100, 10))
    lines = [line.split() for line in net.summary().splitlines()]
    assert lines[0] == ["layer", "kind", "parameter", "shape", "count"]
    assert lines[1] == ["0", "Linear", "weight", "(50,", "784)", "39,200"]
    assert lines[3] == ["1", "Sigmoid", "-", "-", "0"]
    assert lines[-1] == ["total", f"{784 * 50 + 50 + 50 * 100 + 100 + 1000 + 10:,}"]
    assert len({len(line) for line in net.summary().splitlines()}) == 1


def test_a_network_learns_xor() -> None:
    net = nn.Sequential(nn.Linear(2, 8, rng=0), nn.Tanh(), nn.Linear(8, 1, rng=1))
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    optimizer = tg.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(200):
        loss = tg.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((net(x).data > 0) == y).all()
    assert loss.item() < 0.05


def test_parameters_in_lists_tuples_and_dicts_are_found() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.weights = [tg.Tensor([float(i)], requires_grad=True) for i in range(2)]
            self.heads = {"a": nn.Linear(1, 1, bias=False), "b": tg.Tensor([3.0], True)}

    names = [name for name, _ in Net().named_parameters()]
    assert names == ["weights.0", "weights.1", "heads.b", "heads.a.weight"]
    assert [name for name, _ in Net().children()] == ["heads.a"]


def test_parameters_in_lists_of_lists_and_beside_a_sequence_are_found() -> None:
    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(1, 1, bias=False), nn.ReLU())
            self.scale = tg.Tensor([2.0], requires_grad=True)
            self.blocks = [[nn.Linear(1, 1)], {"a": (tg.Tensor([3.0], True),)}]

    names = [name for name, _ in Net().named_parameters()]
    blocks = ["blocks.1.a.0", "0.weight", "blocks.0.0.weight", "blocks.0.0.bias"]
    assert names == ["scale", *blocks]


# All that a module holds


class Normalized(nn.Module):
    """A layer with running figures of several kinds."""

    transient: Any = ("last",)

    def __init__(self, seed: int = 0) -> None:
        self.layer = nn.Linear(3, 2, rng=seed)
        self.mean = np.full(3, float(seed))
        self.table = tg.Tensor(np.arange(2) + seed)
        self.more: dict[str, Any] = {
            "var": np.ones(3, np.float32) * seed,
            "count": [np.int64(seed), 7],
        }
        self.level = 0.5
        self.last = np.zeros(seed)

    def forward(self, x: Any) -> Any:
        return self.layer(x - self.mean.astype(np.float32)) + self.table.data


STATE = ["layer.bias", "layer.weight", "mean", "more.count.0", "more.var", "table"]


def freeze(module: nn.Module, on: bool = False) -> None:
    for parameter in module.parameters():
        parameter.requires_grad = on


def test_state_is_all_that_a_module_holds() -> None:
    net, other = Normalized(1), Normalized(2)
    freeze(net.layer)
    assert sorted(net.state_dict()) == STATE
    kept = [other.mean, other.more["var"], other.table, other.table.data, other.layer.weight.data]
    other.load_state_dict(net.state_dict())
    now = [other.mean, other.more["var"], other.table, other.table.data, other.layer.weight.data]
    assert all(a is b for a, b in zip(kept, now, strict=True))  # written in place
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, net.state_dict()[name])
        assert array.dtype == net.state_dict()[name].dtype
    assert type(other.more["count"][0]) is np.int64
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(net(x).data, other(x).data)
    assert [name for name, _ in net.named_buffers()] == [
        "mean", "table", "more.var", "more.count.0",
    ]  # fmt: skip


def test_states_are_copies() -> None:
    net = Normalized(1)
    state = net.state_dict()
    for array in state.values():
        array[...] = 99
    assert not any((array == 99).any() for array in net.state_dict().values())


def test_frozen_parameters_stay_parameters() -> None:
    net = Normalized(1)
    names = [name for name, _ in net.named_parameters()]
    loss = net(np.ones((1, 3), np.float32)).sum()
    freeze(net)
    assert [name for name, _ in net.named_parameters()] == names
    assert all(p.is_frozen and not p.requires_grad for p in net.parameters())
    assert not net(np.ones((1, 3), np.float32)).requires_grad
    assert not net.table.is_frozen
    loss.backward()  # recorded before
    freeze(net, True)
    assert all(p.grad is not None for p in net.parameters())


def test_a_state_saved_before_freezing_loads_after_freezing() -> None:
    net, other = Normalized(1), Normalized(2)
    state = net.state_dict()
    freeze(other)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.layer.weight.data, net.layer.weight.data)
    assert other.layer.weight.is_frozen


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_stay_frozen(duplicate: Any) -> None:
    net = Normalized(1)
    net(np.ones((1, 3), np.float32)).sum().backward()
    freeze(net)
    twin = duplicate(net)
    assert all(p.is_frozen for p in twin.parameters())
    assert not twin.table.is_frozen
    freeze(twin, True)
    np.testing.assert_array_equal(twin.layer.weight.grad, net.layer.weight.grad)


def test_the_summary_marks_frozen_parameters_and_buffers() -> None:
    net = Normalized(1)
    net.layer.weight.requires_grad = False
    text = net.summary()
    assert "weight (frozen)" in text
    assert "bias  " in text
    assert "mean (buffer)" in text
    lines = [line.split() for line in text.splitlines()]
    assert lines[-3:] == [["buffers", "9"], ["frozen", "6"], ["total", "8"]]


def test_transient_attributes_are_not_part_of_the_module() -> None:
    class Cached(Normalized):
        transient = ("cache", "owner")

    net = Cached()
    net.cache, net.owner = np.ones(3), net  # type: ignore[attr-defined]
    assert sorted(net.state_dict()) == STATE
    assert [path for path, _ in net.named_modules()] == ["", "layer"]


def test_cached_properties_are_no_state() -> None:
    class Positions(nn.Module):
        @functools.cached_property
        def positions(self) -> Any:
            return np.arange(3)

    net = Positions()
    assert list(net.positions) == [0, 1, 2]
    assert net.state_dict() == {}


def test_numbers_that_were_arrays_are_loaded() -> None:
    net, fresh, plain = nn.Module(), nn.Module(), nn.Module()
    net.mean = 0.5 * np.array(3.0)  # type: ignore[attr-defined]  # NumPy makes it a scalar
    fresh.mean, plain.mean = np.array(0.0), 0.0  # type: ignore[attr-defined]
    for other in (fresh, plain):
        other.load_state_dict(net.state_dict())
        assert other.mean == 1.5  # type: ignore[attr-defined]


def test_a_state_without_buffers_says_what_to_do() -> None:
    net = Normalized(1)
    state = dict(net.named_parameters())
    with pytest.raises(ValueError, match=r"mean \(buffer\)(.|\n)*older versions") as caught:
        net.load_state_dict(state)  # type: ignore[arg-type]
    assert "**module.state_dict(), **state" in str(caught.value)
    net.load_state_dict({**net.state_dict(), **state})  # type: ignore[dict-item]


def test_loading_is_all_or_nothing_for_buffers_as_well() -> None:
    net = Normalized(1)
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    net.more["var"].flags.writeable = False
    with pytest.raises(ValueError, match=r"more\.var: is read-only"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    net.load_state_dict(before)  # nothing is to be written there
    with pytest.raises(ValueError, match="mean: expected float64 of shape"):
        net.load_state_dict({**before, "mean": before["mean"].astype(np.float32)})
    with pytest.raises(TypeError, match="a dict of arrays by name"):
        net.load_state_dict([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        lambda a, b: {1: a, "1": b},
        lambda a, b: {"a.b": a, "a": {"b": b}},
        lambda a, b: {"a.0": a, "a": [b]},
    ],
)
@pytest.mark.parametrize("kind", ["module", "parameter", "array"])
def test_two_of_one_name_are_refused(parts: Any, kind: str) -> None:
    def part() -> Any:
        layer = nn.Linear(1, 1, bias=False)
        return {"module": layer, "parameter": layer.weight, "array": layer.weight.data}[kind]

    net = nn.Module()
    net.parts = parts(part(), part())  # type: ignore[attr-defined]
    for use in (net.state_dict, lambda: net.load_state_dict({})):
        with pytest.raises(ValueError, match=r"both called 'parts\."):
            use()
    assert len(net.parameters()) == (0 if kind == "array" else 2)


@pytest.mark.parametrize("keep", ["both", "first", "second"])
def test_tied_weights_load_from_either_name(keep: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight  # type: ignore[attr-defined]
    assert [*net.state_dict()] == ["0.weight"]
    array = np.ones((2, 2), np.float32)
    state = {"0.weight": array, "1.weight": array}
    if keep != "both":
        del state["1.weight" if keep == "first" else "0.weight"]
    net.load_state_dict(state)
    assert (net[1].weight.data == 1).all()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"1\.weight: differs from 0\.weight"):
        net.load_state_dict({"0.weight": array, "1.weight": array * 2})


def test_modules_in_a_circle_are_named() -> None:
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    net[0].owner = net  # type: ignore[attr-defined]
    for use in (net.parameters, net.state_dict, net.eval, net.summary, net.zero_grad):
        with pytest.raises(ValueError, match=r"in a circle: '0\.owner' is the module itself"):
            use()
    assert "Sequential" in repr(net)
    loop: list[Any] = [nn.ReLU()]
    loop.append(loop)
    net = nn.Sequential()
    net.loop = loop  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"loop\.1 contains itself"):
        net.parameters()


def test_a_set_of_parameters_is_refused() -> None:
    net = nn.Module()
    net.layers = {nn.ReLU()}  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"layers is a set.*use a list"):
        net.parameters()


METHODS = ["parameters", "children", "state_dict", "train", "eval", "zero_grad", "forward"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [[1], nn.ReLU(), tg.Tensor([1.0], True), None])
def test_attributes_cannot_hide_methods(name: str, value: Any) -> None:
    words = rf"\.{name} would hide the method {name}\(\) of nn\.Module: choose another name"
    with pytest.raises(AttributeError, match=words):
        setattr(nn.Module(), name, value)
    with pytest.raises(AttributeError, match="hide"):
        type("Net", (nn.Module,), {name: [1]})


def test_methods_can_be_overridden_and_replaced() -> None:
    class Net(nn.Module):
        def parameters(self) -> list[tg.Tensor]:
            return []

    net = Net()
    net.forward = lambda x: x + 1  # type: ignore[method-assign,misc]
    assert net(1) == 2


def test_forward_takes_arguments_by_name() -> None:
    class Scale(nn.Module):
        def forward(self, x: Any, *, by: float = 1.0) -> Any:
            return x * by

    assert Scale()(3, by=2.0) == 6
    with tg.record():
        assert Scale()(3, by=2.0) == 6


@pytest.mark.parametrize(
    "init", [nn.normal(), nn.zeros(), nn.he_normal(), nn.xavier_uniform(), nn.lecun_normal()]
)
def test_initialisers_can_be_pickled(init: Any) -> None:
    again = pickle.loads(pickle.dumps(init))
    drawn = [f((2, 3), np.random.default_rng(0)) for f in (init, again)]
    np.testing.assert_array_equal(*drawn)
