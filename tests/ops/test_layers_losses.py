"""Losses and activations at their borders: ignored labels, soft labels, empty axes, kinks."""

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import nn
from tinygrad_np.ops import special


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def test_ignored_labels_count_nothing() -> None:
    x, labels = normal(4, 3), np.array([0, -100, 2, -100])
    kept = tg.cross_entropy(x[[0, 2]], labels[[0, 2]])
    assert_close(tg.cross_entropy(x, labels).data, kept.data)
    assert_close(tg.softmax_cross_entropy(x, labels, ignore_index=-100).data, kept.data)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2.*labels\[1\] is -100"):
        tg.softmax_cross_entropy(x, labels)
    with pytest.raises(ValueError, match="no label counts"):
        tg.cross_entropy(x, np.full(4, -100))
    logits = tg.Tensor(x, True)
    tg.cross_entropy(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad[[1, 3]].tolist() == np.zeros((2, 3)).tolist()


def test_classes_of_images_are_on_axis_1() -> None:
    x, labels = normal(2, 3, 4, 5), np.random.default_rng(0).integers(3, size=(2, 4, 5))
    last = tg.softmax_cross_entropy(np.moveaxis(x, 1, -1), labels)
    assert_close(tg.softmax_cross_entropy(x, labels).data, last.data)
    assert_close(tg.cross_entropy(x, labels).data, last.data)
    square = np.zeros((2, 3, 3, 3))
    with pytest.raises(ValueError, match=r"axis=1 or axis=-1"):
        tg.softmax_cross_entropy(square, np.zeros((2, 3, 3), int))
    tg.softmax_cross_entropy(square, np.zeros((2, 3, 3), int), axis=1)


def test_soft_labels_get_a_gradient() -> None:
    logits, labels = tg.Tensor(normal(3, 4), True), tg.Tensor(np.full((3, 4), 0.25), True)
    for f in (tg.softmax_cross_entropy, tg.cross_entropy):
        assert tg.gradcheck(lambda a, b, f=f: f(a, b), (logits, labels), 2)
        (found,) = tg.grad(f(logits, labels), [labels])
        assert_close(found.data, -tg.log_softmax(logits).data / 3)


def test_the_place_of_a_stray_label_is_named() -> None:
    labels = np.zeros((2, 3), int)
    labels[1, 2] = 7
    with pytest.raises(ValueError, match=r"0\.\.3.*labels\[1, 2\] is 7"):
        tg.softmax_cross_entropy(normal(2, 3, 4), labels)
    with pytest.raises(ValueError, match=r"labels\[1, 2\] is 7"):
        tg.nll_loss(normal(2, 4, 3), labels)
    with pytest.raises(ValueError, match="weight of shape"):
        tg.cross_entropy(normal(2, 4), [0, 1], np.ones(3))


def test_a_masked_class_costs_nothing_with_weights_and_smoothing() -> None:
    x = tg.Tensor([[0.0, -np.inf, 1.0]], True)
    loss = tg.cross_entropy(x, [2], np.ones(3))
    loss.backward()
    assert np.isfinite(loss.item())
    assert np.isfinite(np.asarray(x.grad)).all()


def test_integer_targets_do_not_widen_float32() -> None:
    x, t = np.ones(3, np.float32), np.array([1, 0, 1])
    signs = np.array([1, -1, 1])
    for out in (
        tg.l1_loss(x, t), tg.huber_loss(x, t), tg.smooth_l1_loss(x, t), tg.poisson_nll_loss(x, t),
        tg.binary_cross_entropy(x, t), tg.binary_cross_entropy_with_logits(x, t),
        tg.hinge_embedding_loss(x, signs), tg.soft_margin_loss(x, signs),
        tg.margin_ranking_loss(x, x, signs), tg.cross_entropy(x[None], [1], np.ones(3)),
        tg.binary_cross_entropy_with_logits(x, t, pos_weight=np.full(3, 2.0)),
    ):  # fmt: skip
        assert out.dtype == np.float32


@pytest.mark.parametrize(
    "name",
    ["l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "soft_margin_loss", "poisson_nll_loss"],
)
def test_shapes_are_not_broadcast_and_empty_means_are_refused(name: str) -> None:
    f = getattr(tg, name)
    with pytest.raises(ValueError, match="must have the same shape"):
        f(np.ones(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="mean over no elements"):
        f(np.ones(0), np.ones(0))
    assert f(np.ones(0), np.ones(0), reduction="sum").item() == 0
    with pytest.raises(ValueError, match="'mean', 'sum', 'none'"):
        f(np.ones(3), np.ones(3), reduction="avg")


def test_probabilities_of_0_and_1_have_bounded_logarithms() -> None:
    x = tg.Tensor([0.0, 1.0, 0.0, 1.0], True)
    losses = tg.binary_cross_entropy(x, np.array([0.0, 1.0, 1.0, 0.0]), reduction="none")
    assert losses.tolist() == [0, 0, 100, 100]
    losses.sum().backward()
    assert np.isfinite(np.asarray(x.grad)).all()
    with pytest.raises(ValueError, match=r"0\.\.1.*with_logits"):
        tg.binary_cross_entropy([1.5], [1.0])


def test_kl_of_a_probability_0_is_0() -> None:
    t = tg.Tensor([0.0, 1.0], True)
    losses = tg.kl_div(np.log([0.5, 0.5]), t, reduction="none")
    assert_close(losses.data, [0, np.log(2)])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax_over_an_empty_axis_is_empty(name: str) -> None:
    x = tg.Tensor(np.zeros((3, 0)), True)
    out = getattr(tg, name)(x)
    assert out.shape == (3, 0)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (3, 0)
    assert tg.logsumexp(x, axis=-1).tolist() == [-np.inf] * 3


def test_gradients_at_kinks_are_those_of_one_side() -> None:
    def slope(f: Any, at: float) -> float:
        x = tg.Tensor([at], True)
        f(x).sum().backward()
        assert x.grad is not None
        return float(x.grad[0])

    assert slope(tg.relu6, 0.0) == slope(tg.relu6, 6.0) == 0
    assert slope(tg.hardtanh, 1.0) == slope(tg.hardsigmoid, -3.0) == 0
    assert slope(tg.hardshrink, 0.5) == slope(tg.softshrink, 0.5) == 0
    assert slope(lambda x: tg.threshold(x, 0.0, 5.0), 0.0) == 0
    assert slope(lambda x: tg.prelu(x, np.array([0.25])), 0.0) == 0.25


def test_the_error_function_is_exact_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special, "scipy_special", lambda: None)
    x = np.concatenate([np.linspace(-7, 7, 2001), [1e-300, 0.46875, 4.0, 30.0, np.inf, -np.inf]])
    assert_close(tg.erf(x).data, [math.erf(v) for v in x], rtol=1e-15)
    below = x[np.abs(x) < 30]
    exact = [0.5 * math.erfc(-v / math.sqrt(2)) for v in below]
    assert_close(tg.normal_cdf(below).data, exact, rtol=2e-14)
    assert np.isnan(tg.erf([np.nan]).item())
    single = below[np.abs(below) < 5].astype(np.float32)
    exact = [0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in single]
    assert_close(tg.normal_cdf(single).data, exact, rtol=3e-6)


def test_the_error_function_is_scipys_where_it_is_installed() -> None:
    scipy_special = pytest.importorskip("scipy.special")
    x = np.linspace(-7, 7, 201)
    assert np.array_equal(tg.erf(x).data, scipy_special.erf(x))
    assert np.array_equal(tg.normal_cdf(x).data, scipy_special.ndtr(x))


def test_modules_of_losses() -> None:
    x, t = normal(3, 4), np.array([0, 3, 1])
    assert nn.CrossEntropyLoss(label_smoothing=0.1)(x, t).item() == pytest.approx(
        tg.cross_entropy(x, t, label_smoothing=0.1).item()
    )
    assert repr(nn.CrossEntropyLoss(label_smoothing=0.1)) == "CrossEntropyLoss(label_smoothing=0.1)"
    assert repr(nn.MSELoss()) == "MSELoss()"
    assert repr(nn.HuberLoss("sum", 0.5)) == "HuberLoss(reduction='sum', delta=0.5)"
    a, b = normal(3, 4, seed=1), normal(3, 4, seed=2)
    for name, inputs in {
        "L1Loss": (a, b), "MSELoss": (a, b), "SmoothL1Loss": (a, b), "KLDivLoss": (a, np.abs(b)),
        "BCEWithLogitsLoss": (a, (b > 0) * 1.0), "SoftMarginLoss": (a, np.sign(b)),
        "HingeEmbeddingLoss": (a, np.sign(b)), "PoissonNLLLoss": (a, np.abs(b)),
        "MarginRankingLoss": (a, b, np.sign(b)), "NLLLoss": (a, t), "BCELoss": (abs(a) / 9, b > 0),
    }.items():  # fmt: skip
        assert getattr(nn, name)()(*inputs).shape == (), name
    assert nn.CosineSimilarity()(a, b).shape == (3,)
    assert nn.PairwiseDistance()(a, b).shape == (3,)
    assert nn.Bilinear(4, 4, 2, rng=0)(a, b).shape == (3, 2)


def test_nll_loss_asks_for_class_numbers_alone() -> None:
    with pytest.raises(ValueError, match=r"class numbers of shape \(2,\)$"):
        tg.nll_loss(np.zeros((2, 3)), np.eye(3)[:2])
    with pytest.raises(ValueError, match=r"or one-hot rows of shape \(2, 3\)"):
        tg.softmax_cross_entropy(np.zeros((2, 3)), np.zeros(2))


# Gradients with respect to targets at their borders


@pytest.mark.parametrize("f", [tg.softmax_cross_entropy, tg.cross_entropy])
@pytest.mark.parametrize("weight", [None, np.array([0.5, 2.0, 0.0, 1.5])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_of_0_get_the_gradient_minus_log_p(
    f: Any, weight: Any, smoothing: float
) -> None:
    logits = tg.Tensor(normal(3, 4) + np.array([0, -1e4, 0, 0]), True)
    labels = tg.Tensor(np.eye(4)[[0, 2, 3]], True)
    for create_graph in (False, True):
        loss = f(logits, labels, reduction="sum", weight=weight, label_smoothing=smoothing)
        found = tg.grad(loss, [labels], create_graph=create_graph)[0]
        scale = (1 - smoothing) * (1 if weight is None else weight)
        assert_close(found.data, -scale * tg.log_softmax(logits).data)


def test_a_masked_class_has_loss_0_and_an_infinite_slope_in_its_label() -> None:
    logits, labels = tg.Tensor([[0.0, -np.inf, 0.0]], True), tg.Tensor([[0.5, 0.0, 0.5]], True)
    loss = tg.softmax_cross_entropy(logits, labels)
    assert_close(loss.data, np.log(2))
    found = tg.grad(loss, [logits, labels])
    assert_close(found[0].data, [[0, 0, 0]], atol=1e-15)
    assert_close(found[1].data, [[np.log(2), np.inf, np.log(2)]])
    for labelled in (labels, np.array([0])):  # a class of weight 0 counts nothing
        weighted = tg.softmax_cross_entropy(
            logits, labelled, weight=np.array([1.0, 0.0, 1.0]), label_smoothing=0.2
        )
        assert_close(weighted.data, np.log(2) * 14 / 15)


def test_an_ignored_row_gets_gradient_0_even_where_it_has_no_softmax() -> None:
    logits = tg.Tensor([[0.0, 0.0], [-np.inf, -np.inf]], True)
    with np.errstate(invalid="ignore"):
        tg.cross_entropy(logits, np.array([0, -100])).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.5, 0.5], [0, 0]]


def test_kl_div_has_an_infinite_slope_at_a_target_of_0() -> None:
    log_p, targets = tg.Tensor(np.log([0.5, 0.25, 0.25]), True), tg.Tensor([0.0, 0.5, 0.5], True)
    loss = tg.kl_div(log_p, targets, "sum")
    assert_close(loss.data, np.log(2))
    with np.errstate(divide="ignore"):
        found = tg.grad(loss, [log_p, targets], create_graph=True)
        second = tg.grad(found[1].sum(), targets)
    assert found[0].tolist() == [0, -0.5, -0.5]
    assert_close(found[1].data, [-np.inf, 1 + np.log(2), 1 + np.log(2)])
    assert second.tolist() == [np.inf, 2, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_binary_cross_entropy_at_predictions_of_0_and_1(dtype: Any) -> None:
    x = tg.Tensor(np.array([0, 1, 0.5], dtype), True)
    tg.binary_cross_entropy(x, np.array([0, 1, 0.25], dtype), reduction="sum").backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, -1, 1]  # of -log(1 - x), of -log x, and between


def test_targets_of_infinite_logits_with_pos_weight() -> None:
    x, t = tg.Tensor([-np.inf, np.inf], True), tg.Tensor([0.0, 1.0], True)
    loss = tg.binary_cross_entropy_with_logits(x, t, "sum", pos_weight=np.array(2.0))
    assert tg.grad(loss, t).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "glu"])
def test_an_axis_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(np.exceptions.AxisError, match="axis 2 is out of bounds"):
        tg.OPS[name].function(np.zeros((2, 2)), axis=2)


@pytest.mark.parametrize(("name", "value"), [("softmax", 1), ("log_softmax", 0), ("softmin", 1)])
def test_a_single_number_is_a_row_of_one_class(name: str, value: int) -> None:
    x = tg.Tensor(3.0, True)
    out = tg.OPS[name].function(x)
    assert (out.shape, out.item()) == ((), value)
    assert tg.grad(out, x).item() == 0
