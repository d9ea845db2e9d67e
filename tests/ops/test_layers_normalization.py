"""Normalization: running statistics, constant rows, batches of one, modules."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import nn


def batch(*shape: int) -> Any:
    return np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)


def test_running_statistics_follow_the_batches_and_are_used_in_eval() -> None:
    layer = nn.BatchNorm1d(3)
    x = batch(8, 3)
    y = layer(x)
    assert_close(y.data.mean(axis=0), np.zeros(3), atol=1e-6)
    assert_close(y.data.std(axis=0), np.ones(3), atol=1e-4)
    assert_close(layer.running_mean, 0.1 * x.mean(axis=0), rtol=1e-5)
    assert_close(layer.running_var, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-5)
    assert layer.num_batches_tracked == 1
    before = layer.state_dict()
    y = layer.eval()(x)
    expected = (x - before["running_mean"]) / np.sqrt(before["running_var"] + 1e-5)
    assert_close(y.data, expected, rtol=1e-5)
    assert all(np.array_equal(before[name], value) for name, value in layer.state_dict().items())


def test_momentum_none_averages_over_all_batches() -> None:
    layer = nn.BatchNorm1d(1, momentum=None, dtype=float)
    first, second = np.array([[1.0], [3.0]]), np.array([[5.0], [9.0]])
    layer(first)
    layer(second)
    assert_close(layer.running_mean, [4.5])
    assert_close(layer.running_var, [5.0])


def test_without_tracking_batches_are_normalized_by_themselves_always() -> None:
    layer = nn.BatchNorm2d(2, track_running_stats=False).eval()
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert_close(layer(batch(3, 2, 2, 2)).data.mean(axis=(0, 2, 3)), [0, 0], atol=1e-6)


def test_statistics_are_buffers_that_files_keep(tmp_path: Any) -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True))
    net(batch(4, 2, 3, 3))
    tg.save(net, tmp_path / "net.safetensors")
    fresh = nn.Sequential(nn.BatchNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True))
    tg.load(tmp_path / "net.safetensors", fresh)
    x = batch(2, 2, 3, 3)
    assert np.array_equal(fresh.eval()(x).data, net.eval()(x).data)
    assert "0.running_mean (buffer)" in net.summary() or "running_mean (buffer)" in net.summary()


def test_constant_rows_become_0() -> None:
    x = tg.Tensor(np.full((2, 4), 1e6), True)
    y = tg.layer_norm(x, 4)
    y.sum().backward()
    assert y.data.tolist() == np.zeros((2, 4)).tolist()
    assert np.isfinite(np.asarray(x.grad)).all()
    assert tg.normalize(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_large_means_cost_no_digits() -> None:
    x = 1e8 + np.array([[0.0, 1.0, 2.0, 3.0]])
    assert_close(tg.layer_norm(x, 4).data, tg.layer_norm(x - 1e8, 4).data, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), "more than one element.*eval"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4))), r"\(batch, 3\).*got \(2, 4\)"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3))), "must have 4 axes"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 4, 1, 1))), "has 4 features on axis 1"),
        (lambda: tg.batch_norm(np.ones((2, 3)), None, None), "needed unless training"),
        (lambda: tg.batch_norm(np.ones((2, 3)), np.ones(2), np.ones(3)), "running_mean of shape"),
        (lambda: tg.instance_norm(np.ones((2, 3, 1))), "more than one element"),
        (lambda: tg.layer_norm(np.ones((2, 3)), 4), "does not end with"),
        (lambda: tg.layer_norm(np.ones((2, 3)), 3, np.ones(2)), r"weight of shape \(2,\)"),
        (lambda: tg.group_norm(np.ones((2, 3)), 2), "must divide the features"),
        (lambda: nn.GroupNorm(2, 3), "must divide"),
        (lambda: nn.BatchNorm1d(0), "at least 1"),
    ],
)
def test_errors_say_what_does_not_fit(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.BatchNorm1d(3), (4, 3, 2), "BatchNorm1d(3)"),
        (nn.BatchNorm3d(3, momentum=0.2), (2, 3, 1, 2, 2), "BatchNorm3d(3, momentum=0.2)"),
        (nn.InstanceNorm1d(3), (3, 4), "InstanceNorm1d(3)"),
        (nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 2), "InstanceNorm2d(3, affine=True)"),
        (nn.LayerNorm((3, 2)), (4, 3, 2), "LayerNorm((3, 2))"),
        (nn.RMSNorm(4), (2, 4), "RMSNorm((4,))"),
        (nn.GroupNorm(2, 4), (2, 4, 3), "GroupNorm(2, 4)"),
    ],
)
def test_layers(layer: Any, shape: Any, words: str) -> None:
    y = layer(batch(*shape))
    assert repr(layer) == words
    assert y.shape == shape
    assert y.dtype == np.float32
    if layer.parameters():
        (y * y).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())


def test_float16_images_are_averaged_in_float32() -> None:
    x = np.ones((1, 1, 300, 300), np.float16)
    x[0, 0, 0, 0] = 2
    y = tg.batch_norm(x, None, None, training=True)
    assert y.dtype == np.float16
    assert abs(float(y.data[0, 0, 1, 1]) + x.astype(float).var() ** 0.5 / 1) < 0.01
