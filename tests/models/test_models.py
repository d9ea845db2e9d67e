"""The networks: gradients by autograd, by hand and numerically agree."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import models
import tinygrad_np as tg
from models import lenet_by_hand, three_layer_by_hand, two_layer_by_hand
from models.lenet import LeNet
from models.three_layer import ThreeLayer
from models.two_layer import DropoutNetwork, ReluNetwork, TanhNetwork
from scripts import training
from tinygrad_np import nn
from tinygrad_np.data import load_mnist

Array = NDArray[Any]
Digits = tuple[Array, Array, Array]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Six training images in float64, their labels, and the same one-hot."""
    (x, t), _ = load_mnist(dtype=np.float64)
    return x[:6], t[:6], np.eye(10)[t[:6]]


def trained(make: Callable[..., Any], x: Array, labels: Array, steps: int = 30) -> Any:
    """A network of float64 some updates away from its start, so that no gradient is tiny."""
    net = make(rng=0, dtype=np.float64)
    optimizer = tg.optim.SGD(net.parameters(), 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss(x, labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net


def relative(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def check_three_ways(
    net: nn.Module, loss: Callable[[], tg.Tensor], value: float, by_hand: dict[str, Array],
    largest: int = 1000, directions: int = 20,
) -> None:  # fmt: skip
    """Autograd to hand within 1e-12, numerical within 1e-7, both relative to the largest.

    Parameters with more elements than ``largest`` are compared along random directions only.
    """
    out = loss()
    out.backward()
    assert abs(out.item() - value) <= 1e-12 * abs(value)
    assert sorted(by_hand) == sorted(name for name, _ in net.named_parameters())
    rng = np.random.default_rng(0)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert relative(parameter.grad, by_hand[name]) < 1e-12, name
        if parameter.size <= largest:
            numerical = tg.numerical_gradient(lambda _: loss(), parameter)
            assert relative(numerical, by_hand[name]) < 1e-7, name
        for _ in range(directions):
            direction = rng.normal(size=parameter.shape)
            along = tg.directional_derivative(lambda _: loss(), parameter, direction)
            assert abs(along - (by_hand[name] * direction).sum()) < 1e-7 * abs(along), name


@pytest.mark.parametrize(
    ("make", "twin", "how"),
    [
        (ThreeLayer, three_layer_by_hand.loss_and_gradients, {}),
        (LeNet, lenet_by_hand.loss_and_gradients, {"largest": 20, "directions": 2}),
        pytest.param(LeNet, lenet_by_hand.loss_and_gradients, {}, marks=pytest.mark.slow),
    ],
)
def test_gradients_three_ways(
    make: Callable[..., Any], twin: Callable[..., Any], how: dict[str, int], digits: Digits
) -> None:
    x, labels, _ = digits
    net = trained(make, x, labels)
    value, by_hand = twin(net.state_dict(), x, labels)
    check_three_ways(net, lambda: net.loss(x, labels), value, by_hand, **how)


# The first seed's network


def test_three_layer_is_the_first_seeds_network() -> None:
    net = ThreeLayer(rng=3)
    shapes = {name: parameter.shape for name, parameter in net.named_parameters()}
    assert shapes == {
        "W1": (784, 50), "b1": (50,), "W2": (50, 100), "b2": (100,), "W3": (100, 10), "b3": (10,)
    }  # fmt: skip
    assert [parameter.name for parameter in net.parameters()] == list(shapes)
    assert {parameter.dtype.name for parameter in net.parameters()} == {"float32"}
    assert abs(net.W1.data.std() - 0.01) < 2e-4
    assert not net.b1.data.any() and not net.b2.data.any() and not net.b3.data.any()


def test_the_hand_written_step_takes_autograds_way(digits: Digits) -> None:
    x, labels, _ = digits
    net = ThreeLayer(rng=0, dtype=np.float64)
    by_hand = net.state_dict()
    optimizer = tg.optim.SGD(net.parameters(), 0.5)
    for _ in range(20):
        optimizer.zero_grad()
        loss = net.loss(x, labels)
        loss.backward()
        optimizer.step()
        assert three_layer_by_hand.step(by_hand, x, labels, 0.5) == pytest.approx(loss.item())
    for name, parameter in net.named_parameters():
        assert relative(parameter.data, by_hand[name]) < 1e-12


# The second seed's networks


def test_relu_network_gradients_three_ways(digits: Digits) -> None:
    x, labels, one_hot = digits
    net = trained(ReluNetwork, x, labels)
    value, by_hand = two_layer_by_hand.relu_network(net.state_dict(), x, one_hot)
    check_three_ways(net, lambda: net.objective(net(x), one_hot), value, by_hand)


@pytest.mark.parametrize(
    ("make", "hand"),
    [
        (DropoutNetwork, two_layer_by_hand.dropout_network),
        (TanhNetwork, two_layer_by_hand.tanh_network),
    ],
)
def test_dropout_networks_gradients_three_ways(
    make: Callable[..., Any], hand: Callable[..., Any], digits: Digits
) -> None:
    x, labels, one_hot = digits
    net = trained(make, x, labels)
    mask = np.random.default_rng(1).integers(2, size=(len(x), net.hidden))
    value, by_hand = hand(net.state_dict(), x, one_hot, mask)
    check_three_ways(net, lambda: net.objective(net(x, mask), one_hot), value, by_hand)


@pytest.mark.parametrize("make", [ReluNetwork, DropoutNetwork, TanhNetwork])
def test_printed_rules_leave_the_training_pass_alone_and_change_its_gradient(
    make: Callable[..., Any], digits: Digits
) -> None:
    x, _, one_hot = digits
    right, wrong = (make(rng=0, printed=printed) for printed in (False, True))
    mask = None
    if make is not ReluNetwork:
        mask = np.random.default_rng(1).integers(2, size=(len(x), right.hidden))
    outs = [net(x, mask) for net in (right, wrong)]
    np.testing.assert_array_equal(outs[0].data, outs[1].data)
    for net, out in zip((right, wrong), outs, strict=True):
        net.objective(out, one_hot).backward()
    np.testing.assert_array_equal(right.W2.grad, wrong.W2.grad)
    assert relative(wrong.W1.grad, right.W1.grad) > 0.1


def test_printed_relu_masks_nothing(digits: Digits) -> None:
    x, _, one_hot = digits
    net: Any = ReluNetwork(rng=0, printed=True)
    h = np.maximum(x @ net.W1.data, 0)
    delta = (h @ net.W2.data - one_hot) / len(x)
    net.objective(net(x), one_hot).backward()
    assert relative(net.W1.grad, x.T @ (delta @ net.W2.data.T)) < 1e-12


def test_printed_dropout_forgets_the_factor(digits: Digits) -> None:
    x, _, one_hot = digits
    net: Any = DropoutNetwork(rng=0, printed=True)
    mask = np.random.default_rng(1).integers(2, size=(len(x), net.hidden))
    h = np.maximum(x @ net.W1.data, 0) * mask * 2
    delta = (h @ net.W2.data - one_hot) / len(x)
    net.objective(net(x, mask), one_hot).backward()
    assert relative(net.W1.grad, x.T @ (delta @ net.W2.data.T * mask)) < 1e-12


def test_printed_tanh_is_differentiated_after_scaling(digits: Digits) -> None:
    x, _, one_hot = digits
    net: Any = TanhNetwork(rng=0, printed=True)
    mask = np.random.default_rng(1).integers(2, size=(len(x), net.hidden))
    h = np.tanh(x @ net.W1.data) * mask * 2
    scores = h @ net.W2.data
    delta = (tg.softmax(scores).data - one_hot) / len(x) ** 2
    net.objective(net(x, mask), one_hot).backward()
    by_hand = x.T @ (delta @ net.W2.data.T * (1 - h**2) * mask)
    assert relative(net.W1.grad, by_hand) < 1e-12


def test_printed_tanh_network_is_tested_with_relu(digits: Digits) -> None:
    x, _, _ = digits
    right, wrong = (TanhNetwork(rng=0, printed=printed) for printed in (False, True))
    a = x @ right.W1.data
    np.testing.assert_allclose(right(x).data, np.tanh(a) @ right.W2.data)
    np.testing.assert_allclose(wrong(x).data, np.maximum(a, 0) @ wrong.W2.data)


def test_printed_rules_are_not_among_the_proven_ops() -> None:
    assert not {"relu_of_output", "dropout_unscaled", "tanh_dropout"} & set(tg.OPS)


def test_dropout_networks_drop_while_training_only(digits: Digits) -> None:
    x, labels, one_hot = digits
    net = DropoutNetwork(rng=0)
    assert net.loss(x, labels).item() != net.loss(x, labels).item()
    net.eval()
    expected = np.square(net(x).data - one_hot).sum() / (2 * len(x))
    assert net.loss(x, labels).item() == pytest.approx(expected)


# LeNet


def test_lenet_takes_rows_and_images(digits: Digits) -> None:
    x, _, _ = digits
    net = LeNet(rng=0, dtype=np.float64)
    out = net(x).data
    np.testing.assert_array_equal(net(x.reshape(6, 28, 28)).data, out)
    np.testing.assert_array_equal(net(x.reshape(6, 1, 28, 28)).data, out)
    assert net(x[:0]).shape == (0, 10)
    with pytest.raises(ValueError, match="6, 1, 28, 28"):
        net(x[:, :-1])


def test_lenet_is_the_network_of_layers() -> None:
    """The same from modules, with PyTorch's layout of weights."""
    net: Any = LeNet(rng=0, dtype=np.float64)
    conv, linear = partial(nn.Conv2d, dtype=np.float64), partial(nn.Linear, dtype=np.float64)
    layers = nn.Sequential(
        conv(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        conv(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        linear(400, 120), nn.ReLU(), linear(120, 84), nn.ReLU(), linear(84, 10),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    for own, given in zip(net.parameters(), layers.parameters(), strict=True):
        if own.ndim == 1:
            own.data = rng.normal(size=own.shape)
        given.data = own.data.T if own.ndim == 2 else own.data
    x, labels = rng.normal(size=(3, 784)), np.arange(3)
    loss = tg.softmax_cross_entropy(layers(x.reshape(3, 1, 28, 28)), labels)
    assert net.loss(x, labels).item() == pytest.approx(loss.item(), rel=1e-12)
    loss.backward()
    net.loss(x, labels).backward()
    for own, given in zip(net.parameters(), layers.parameters(), strict=True):
        theirs = np.asarray(given.grad)
        assert relative(own.grad, theirs.T if own.ndim == 2 else theirs) < 1e-12, own.name


def test_an_audit_finds_mistakes_in_lenets_twin(digits: Digits) -> None:
    x, labels, _ = digits
    net = trained(LeNet, x, labels)
    weights = net.state_dict()
    _, by_hand = lenet_by_hand.loss_and_gradients(weights, x, labels)

    def loss(**parameters: tg.Tensor) -> tg.Tensor:
        vars(net).update(parameters)
        out: tg.Tensor = net.loss(x, labels)
        return out

    assert tg.audit(loss, weights, by_hand)
    report = tg.audit(loss, weights, by_hand | {"W1": -by_hand["W1"], "b2": by_hand["b2"] / 2})
    wrong = {name: report[name].kind for name in by_hand if not report[name].right}
    assert wrong == {"W1": "sign", "b2": "factor"}


def test_the_twins_pooling_sends_a_gradient_to_the_first_of_equal_elements() -> None:
    x = np.zeros((1, 2, 2, 3))
    x[0, :, :, 1] = [[1, 2], [2, 2]]
    largest = lenet_by_hand.max_pool(x)
    back = lenet_by_hand.max_pool_back(np.array([[[[5.0, 6.0, 7.0]]]]), x, largest)
    np.testing.assert_array_equal(back[0, 0, 0], [5, 0, 7])
    np.testing.assert_array_equal(back[0, 0, 1], [0, 6, 0])
    assert not back[0, 1].any()


# Looking them up


@pytest.mark.parametrize("name", sorted(models.MODELS.keys() - models.DATA))
def test_every_model_by_name(name: str, digits: Digits) -> None:
    x, labels, _ = digits
    net = models.make(name, np.random.default_rng(0))
    assert net(x.astype(np.float32)).shape == (6, 10)
    loss = training.loss_of(net, x.astype(np.float32), labels)
    loss.backward()
    assert loss.dtype == np.float32
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == np.float32


def test_the_best_recipes_network_has_as_many_parameters_as_the_seeds() -> None:
    sizes = [
        sum(
            parameter.size for parameter in models.make(name, np.random.default_rng(0)).parameters()
        )
        for name in ("three_layer", "three_layer_relu")
    ]
    assert sizes == [45_360, 45_360]


def test_a_model_of_ones_own() -> None:
    assert models.factory("tinygrad_np.nn:Linear") is nn.Linear


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("four_layer", "no model called 'four_layer': choose one of three_layer"),
        (":Net", "no model called ':Net'"),
        ("..models:Net", "no model called '..models:Net'"),
        ("no_such_module:Net", "cannot be imported: No module named 'no_such_module'"),
        ("tinygrad_np.nn:Nothing", "cannot be imported"),
        ("tinygrad_np:__version__", "is a str: a class or function is needed"),
    ],
)
def test_a_model_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.factory(name)
