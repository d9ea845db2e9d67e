"""Embeddings, attention, containers."""

import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import nn

ONES = np.ones((2, 2))


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def test_repeated_indices_add_up_and_padding_gets_nothing() -> None:
    weight = tg.Tensor(normal(4, 2), True)
    tg.embedding([[1, 1], [3, 0]], weight, padding_idx=0).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]
    layer = nn.Embedding(4, 2, padding_idx=-1, rng=0)
    assert layer.weight.data[3].tolist() == [0, 0]
    layer([3, 1]).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[0, 0], [1, 1], [0, 0], [0, 0]]
    assert repr(layer) == "Embedding(4, 2, padding_idx=-1)"


def test_a_row_that_is_often_used_sums_exactly_in_float16() -> None:
    weight = tg.Tensor(np.zeros((1, 2)), True, np.float16)
    tg.embedding(np.zeros(5000, int), weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[5000, 5000]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tg.embedding([[0, 4]], np.ones((4, 2))), IndexError, r"4 at \[0, 1\].*4 rows"),
        (lambda: tg.embedding([-1], np.ones((4, 2))), IndexError, "index -1"),
        (lambda: tg.embedding([0.5], np.ones((4, 2))), TypeError, "integers"),
        (lambda: tg.embedding([0], np.ones((4, 2)), 4), ValueError, "padding_idx=4"),
        (lambda: tg.one_hot([3], 3), IndexError, "index 3"),
        (lambda: tg.one_hot([0.5]), TypeError, "integers"),
        (lambda: nn.Embedding(0, 3), ValueError, "1 or more|at least 1"),
        (lambda: nn.MultiheadAttention(4, 3), ValueError, "must divide"),
        (lambda: nn.ModuleList([tg.relu]), TypeError, r"write nn\.ReLU"),  # type: ignore[list-item]
        (lambda: tg.attention_weights(ONES, ONES, ONES, is_causal=True), ValueError, "not both"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_query_that_sees_nothing_gets_0_and_no_nan_comes_back() -> None:
    q, k, v = (tg.Tensor(normal(3, 2), True) for _ in range(3))
    mask = np.array([[True, False, True], [False] * 3, [True] * 3])
    for given in (mask, np.where(mask, 0.0, -np.inf)):
        out = tg.scaled_dot_product_attention(q, k, v, given)
        assert out.data[1].tolist() == [0, 0]
        gradients = tg.grad((out**2).sum(), [q, k, v])
        assert all(np.isfinite(g.data).all() for g in gradients)
        assert gradients[0].data[1].tolist() == [0, 0]


def test_the_future_is_not_seen() -> None:
    x = normal(1, 2, 5, 4)
    out = tg.scaled_dot_product_attention(x, x, x, is_causal=True).data
    x[:, :, 3:] += 1
    again = tg.scaled_dot_product_attention(x, x, x, is_causal=True).data
    assert np.array_equal(out[:, :, :3], again[:, :, :3])


def test_attention_drops_weights_while_training_only() -> None:
    layer = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True, rng=0)
    x = normal(2, 3, 4).astype(np.float32)
    tg.manual_seed(0)
    assert not np.array_equal(layer(x, x, x)[0].data, layer(x, x, x)[0].data)
    layer.eval()
    one, weights = layer(x, x, x)
    assert np.array_equal(one.data, layer(x, x, x, need_weights=False)[0].data)
    assert weights is not None
    assert_close(weights.data.sum(axis=-1), np.ones((2, 3)), rtol=1e-6)
    assert repr(layer).startswith("MultiheadAttention(\n  4, 2, dropout=0.5\n  out_proj: Linear(4")
    assert one.dtype == np.float32


def test_lists_and_dicts_of_modules() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2, rng=0)])
    layers.extend([nn.ReLU(), nn.Linear(2, 3, rng=1)])
    layers.insert(1, nn.Identity())
    layers[1] = nn.Tanh()
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Tanh", "ReLU", "Linear"]
    assert len(layers) == 4
    assert repr(layers).splitlines()[1] == "  0: Linear(2, 2)"
    heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.ReLU()})
    assert "a" in heads
    assert list(heads) == ["a", "b"] == list(heads.keys())
    del heads["b"]
    assert [name for name, _ in heads.named_parameters()] == ["a.weight", "a.bias"]
    assert heads.pop("a") is not None
    assert len(heads) == 0


def test_flatten() -> None:
    x = normal(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Flatten(-2)(x).shape == (2, 3, 20)
    assert nn.Flatten()(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match="no axes from 3 to 1"):
        nn.Flatten(3, 1)(x)


def test_modules_of_functions_can_be_pickled() -> None:
    for module in (nn.GELU("tanh"), nn.MaxPool2d(2), nn.CrossEntropyLoss(label_smoothing=0.1)):
        again = pickle.loads(pickle.dumps(module))
        assert repr(again) == repr(module)


def test_weights_travel_by_pytorchs_names() -> None:
    names = {
        nn.MultiheadAttention(4, 2): [
            "in_proj_bias", "in_proj_weight", "out_proj.bias", "out_proj.weight"],
        nn.Conv2d(1, 2, 3): ["bias", "weight"], nn.LayerNorm(3): ["bias", "weight"],
        nn.Embedding(3, 2): ["weight"], nn.PReLU(): ["weight"],
        nn.Bilinear(2, 3, 4): ["bias", "weight"],
    }  # fmt: skip
    for module, expected in names.items():
        assert sorted(module.state_dict()) == expected


def test_attention_under_a_mask_that_is_an_argument_compiles() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True, dtype=np.float64, rng=0)
    x, mask = np.random.default_rng(0).normal(size=(2, 3, 4)), ~np.tri(3, dtype=bool)

    def attend(x: Any, mask: Any) -> Any:
        return layer(x, x, x, attn_mask=mask)[0]

    compiled = tg.compile(attend)
    for other in (mask, mask.T.copy() & ~np.eye(3, dtype=bool)):
        with tg.no_grad():
            assert_close(compiled(x, other).data, attend(x, other).data, rtol=1e-12, atol=1e-12)
