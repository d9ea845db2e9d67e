"""Convolutions: every size of block, order of derivative, infinite numbers, errors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_np as tg
from tests.layer_oracles import LAYERS
from tests.registry import assert_close
from tinygrad_np import nn
from tinygrad_np.ops import blocks


def leaf(*shape: int, dtype: Any = float) -> tg.Tensor:
    return tg.Tensor(np.random.default_rng(0).normal(size=shape), True, dtype)


def check_against_loops(x: tg.Tensor, w: tg.Tensor, geometry: Any) -> None:
    """Compare a convolution and its gradients with plain loops."""
    y = tg.OPS["convolution"].function(x, w, None, *geometry)
    assert_close(y.data, LAYERS["convolution"](x.data, w.data, None, *geometry), 1e-12, 1e-13)
    g = np.random.default_rng(1).normal(size=y.shape)
    dx, dw = tg.grad(y, [x, w], g)
    expected = LAYERS["convolution_input"](g, w.data, x.shape[2:], *geometry)
    assert_close(dx.data, expected, 1e-12, 1e-13)
    expected = LAYERS["convolution_weight"](g, x.data, w.shape[2:], *geometry)
    assert_close(dw.data, expected, 1e-12, 1e-13)


@pytest.mark.parametrize("block", [1, 2000, 5000, 1 << 20])
@pytest.mark.parametrize("stride", [1, 2])
def test_results_do_not_depend_on_the_size_of_blocks(
    block: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    x, w, b = leaf(7, 2, 6, 5), leaf(4, 2, 3, 2), leaf(4)
    y = tg.conv2d(x, w, b, stride, 1)
    assert_close(y.data, LAYERS["conv2d"](x.data, w.data, b.data, stride, 1), 1e-13, 1e-14)
    g = np.random.default_rng(1).normal(size=y.shape)
    dx, dw, db = tg.grad(y, [x, w, b], g)
    geometry = ((stride,) * 2, ((1, 1),) * 2, (1, 1), 1)
    assert_close(dx.data, LAYERS["convolution_input"](g, w.data, (6, 5), *geometry), 1e-13, 1e-14)
    assert_close(dw.data, LAYERS["convolution_weight"](g, x.data, (3, 2), *geometry), 1e-12, 1e-13)
    assert_close(db.data, g.sum(axis=(0, 2, 3)), 1e-13)


@pytest.mark.parametrize("kernel", [(2, 9), (9, 2), (1, 8), (8, 8)])
def test_windows_as_wide_as_the_image_are_copied_once_at_most(kernel: Any) -> None:
    x, w = leaf(2, 2, 9, 9), leaf(3, 2, *kernel)
    y = tg.conv2d(x, w)
    assert_close(y.data, LAYERS["conv2d"](x.data, w.data), 1e-12, 1e-13)
    assert tg.gradcheck(tg.conv2d, (x, w), weights="random", raises=False)
    blocks.scratch.buffers.clear()
    tg.conv2d(x, w)
    columns = blocks.scratch.buffers["columns"]
    assert columns.nbytes <= x.data.itemsize * 2 * np.prod(kernel) * np.prod(y.shape[2:]) * len(x)


@pytest.mark.parametrize("stride", [1, 2])
def test_large_images_are_taken_in_blocks_of_rows(stride: int) -> None:
    x, w = leaf(2, 2, 31, 17), leaf(3, 2, 3, 3)
    y = tg.conv2d(x, w, None, stride, 1)
    g = np.random.default_rng(1).normal(size=y.shape)
    whole = y.data, *[found.data for found in tg.grad(y, [x, w], g)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 5_000)
        geometry = blocks.Windows((3, 3), (stride,) * 2, ((1, 1),) * 2, (1, 1), y.shape[2:])
        of_rows = geometry.arranged(2).blocks(2, 2 * x.data.itemsize)
        assert max(block.out[0] for block in of_rows) < 15
        y = tg.conv2d(x, w, None, stride, 1)
        for found, expected in zip((y, *tg.grad(y, [x, w], g)), whole, strict=True):
            assert_close(found.data, expected, 1e-12, 1e-13)


@pytest.mark.parametrize("images_last", [False, True])
@pytest.mark.parametrize("block", [300, 1 << 19])
@pytest.mark.parametrize(
    ("shape", "kernel", "geometry"),
    [
        ((12, 4, 9), (4, 2, 3), ((1,), ((2, 1),), (2,), 2)),
        ((12, 4, 9), (4, 2, 3), ((2,), ((0, 1),), (1,), 2)),
        ((12, 4, 6, 5), (6, 2, 3, 2), ((1, 1), ((2, 1), (0, 1)), (1, 2), 2)),
        ((12, 4, 8, 5), (6, 2, 3, 2), ((1, 2), ((1, 3), (1, 0)), (2, 1), 2)),
        ((12, 2, 8, 6), (3, 2, 3, 4), ((2, 1), ((1, 0), (2, 2)), (2, 1), 1)),
        ((12, 2, 8, 6), (3, 2, 2, 2), ((3, 2), ((0, 0), (1, 0)), (1, 1), 1)),
        ((12, 2, 4, 3, 4), (2, 1, 2, 2, 3), ((1, 1, 1), ((1, 0), (0, 1), (1, 1)), (2, 1, 1), 2)),
        ((12, 2, 4, 5, 4), (2, 1, 2, 2, 3), ((1, 2, 1), ((0, 0), (0, 1), (1, 1)), (1, 1, 1), 2)),
    ],
)
def test_every_layout_of_blocks_gives_the_same(
    shape: Any, kernel: Any, geometry: Any, block: int, images_last: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(blocks, "BLOCK", block)
    monkeypatch.setattr(blocks, "COLUMNS", 1)
    monkeypatch.setattr(blocks, "WIDE", 16 if images_last else 1)
    check_against_loops(leaf(*shape), leaf(*kernel), geometry)


@settings(max_examples=40)
@given(st.data())
def test_random_convolutions_and_their_gradients(data: st.DataObject) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    axes, groups = number(1, 3), number(1, 2)
    kernel, stride, dilation = (tuple(number(1, 3) for _ in range(axes)) for _ in range(3))
    pads = tuple((number(0, 2), number(0, 2)) for _ in range(axes))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(1, n - sum(pad)) + number(0, 3) for n, pad in zip(reach, pads, strict=True)]
    shape = number(1, 3), groups * number(1, 2), *size
    geometry = stride, pads, dilation, groups
    weight = leaf(groups * number(1, 2), shape[1] // groups, *kernel)
    check_against_loops(leaf(*shape), weight, geometry)


def test_a_bias_of_more_precision_widens_the_result() -> None:
    x, w, b = leaf(2, 1, 4, dtype="f4"), leaf(3, 1, 2, dtype="f4"), leaf(3)
    y = tg.conv1d(x, w, b)
    assert y.dtype == np.float64
    assert_close(y.data, tg.conv1d(x, w).data + b.data[:, np.newaxis], 1e-15)


def test_third_derivatives() -> None:
    x, w = leaf(1, 1, 3, 3), leaf(1, 1, 2, 2)

    def f(x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        return (tg.conv2d(x, w) ** 3).sum()

    (first,) = tg.grad(f(x, w), [x], create_graph=True)
    (second,) = tg.grad((first**2).sum(), [w], create_graph=True)
    (third,) = tg.grad((second**2).sum(), [x])
    h, d = 1e-5, np.random.default_rng(2).normal(size=x.shape)

    def value(t: float) -> float:
        moved = tg.Tensor(x.data + t * d, True)
        (first,) = tg.grad(f(moved, w), [moved], create_graph=True)
        (second,) = tg.grad((first**2).sum(), [w])
        return float((second.data**2).sum())

    assert (value(h) - value(-h)) / (2 * h) == pytest.approx(float((third.data * d).sum()), 1e-6)


def test_an_infinite_number_stays_where_it_is() -> None:
    """Zeros around the rows of an image are not multiplied by it."""
    x = np.ones((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.inf
    image, w = tg.Tensor(x), tg.Tensor(np.ones((1, 1, 2, 2)), True)
    g = np.ones((1, 1, 3, 3))
    (dw,) = tg.grad(tg.conv2d(image, w), [w], g)
    assert dw.tolist() == [[[[np.inf, 9.0], [9.0, 9.0]]]]
    heavy = np.ones((1, 1, 2, 2))
    heavy[0, 0, 0, 1] = np.inf
    plain = tg.Tensor(np.ones((1, 1, 4, 4)), True)
    with np.errstate(invalid="ignore"):
        (dx,) = tg.grad(tg.conv2d(plain, heavy), [plain], g)
    assert not np.isnan(dx.data).any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sums_are_not_made_in_float16(dtype: str) -> None:
    x, w = tg.Tensor(np.ones((1, 4096, 1, 1)), True, dtype), np.ones((1, 4096, 1, 1), dtype)
    y = tg.conv2d(x, w)
    assert y.dtype == dtype
    assert y.item() == 4096


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.conv2d(np.ones((2, 3)), np.ones((1, 3, 1, 1))), "x must have 4 axes"),
        (lambda: tg.conv2d(np.ones((1, 3, 4, 4)), np.ones((2, 4, 1, 1))), "3 channels.*needs 4"),
        (lambda: tg.conv2d(np.ones((1, 3, 4, 4)), np.ones((2, 3, 5, 5))), "do not fit an input"),
        (lambda: tg.conv2d(np.ones((1, 4, 4, 4)), np.ones((3, 2, 1, 1)), groups=2), "divide"),
        (lambda: tg.conv2d(np.ones((1, 3, 4, 4)), np.ones((2, 3, 1, 1)), np.ones(3)), "bias of"),
        (lambda: tg.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), None, 2, "same"), "stride 1"),
        (lambda: tg.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), None, 1, "full"), '"same"'),
        (lambda: tg.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), None, 0), "at least 1"),
        (lambda: tg.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), None, (1, 2)), "1 axes"),
        (lambda: tg.conv_transpose1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), None, 1, 0, 1),
         "output_padding=1 must be smaller"),
        (lambda: tg.conv_transpose1d(np.ones((1, 1, 1)), np.ones((1, 1, 1)), None, 1, 1), "less"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv2d(0, 4, 3), "at least 1"),
    ],
)  # fmt: skip
def test_errors_say_what_does_not_fit(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("layer", "shape", "out", "words"),
    [
        (nn.Conv1d(4, 6, 3, 2, rng=0), (2, 4, 9), (2, 6, 4), "4, 6, kernel_size=(3,), stride=2"),
        (nn.Conv2d(4, 6, 3, padding="same", groups=2, rng=0), (2, 4, 5, 6), (2, 6, 5, 6),
         "4, 6, kernel_size=(3, 3), padding=same, groups=2"),
        (nn.Conv3d(1, 2, (1, 2, 3), bias=False, rng=0), (1, 1, 3, 3, 3), (1, 2, 3, 2, 1),
         "1, 2, kernel_size=(1, 2, 3), bias=False"),
        (nn.ConvTranspose1d(4, 6, 3, 2, rng=0), (2, 4, 3), (2, 6, 7),
         "4, 6, kernel_size=(3,), stride=2"),
        (nn.ConvTranspose2d(4, 2, 2, 2, output_padding=1, groups=2, rng=0), (1, 4, 3, 3),
         (1, 2, 7, 7), "4, 2, kernel_size=(2, 2), stride=2, output_padding=1, groups=2"),
    ],
)  # fmt: skip
def test_layers(layer: Any, shape: Any, out: Any, words: str) -> None:
    y = layer(np.ones(shape, np.float32))
    assert y.shape == out
    assert y.dtype == np.float32
    assert repr(layer) == f"{type(layer).__name__}({words})"
    y.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())


def test_weights_start_with_the_variance_of_their_window() -> None:
    weight = nn.Conv2d(16, 64, 5, rng=0).weight.data
    assert weight.std() == pytest.approx(np.sqrt(2 / (16 * 25)), 0.02)
    weight = nn.Conv2d(16, 64, 5, init=nn.xavier_uniform(), rng=0).weight.data
    assert np.abs(weight).max() == pytest.approx(np.sqrt(6 / (80 * 25)), 0.01)


def test_a_network_of_convolutions_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 1, 6, 6)).astype(np.float32)
    labels = (x[:, 0, :3].sum(axis=(1, 2)) > x[:, 0, 3:].sum(axis=(1, 2))).astype(int)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(36, 2, rng=1),
    )  # fmt: skip
    optimizer = tg.optim.Adam(net.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        tg.cross_entropy(net(x), labels).backward()
        optimizer.step()
    assert (net.eval()(x).data.argmax(axis=1) == labels).mean() > 0.9
