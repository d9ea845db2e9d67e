"""Pooling and resampling: ties, padding, infinite numbers, errors, modules."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np import nn

inf, nan = np.inf, np.nan


def gradient(x: Any, *args: Any, **kwargs: Any) -> Any:
    x = tg.Tensor(x, True)
    tg.max_pool2d(x, *args, **kwargs).sum().backward()
    return x.grad


def test_of_equal_elements_the_first_gets_the_gradient() -> None:
    assert gradient(np.zeros((1, 2, 2)), 2).tolist() == [[[1, 0], [0, 0]]]
    assert gradient([[[1.0, 2.0], [2.0, 2.0]]], 2).tolist() == [[[0, 1], [0, 0]]]
    assert gradient(np.zeros((1, 3, 3)), 2, 1).tolist() == [[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]


def test_minus_infinity_is_found_beside_padding() -> None:
    found = gradient(np.full((1, 2, 2), -inf), 2, 1, 1)
    assert found.sum() == 9  # each of the 9 windows has an element of its own
    assert found[0, 0, 0] == 4


def test_nan_wins_and_gets_the_gradient() -> None:
    x = [[[1.0, nan], [2.0, 3.0]]]
    assert np.isnan(tg.max_pool2d(x, 2).item())
    assert gradient(x, 2).tolist() == [[[0, 1], [0, 0]]]


def test_large_windows_count_their_places() -> None:
    x = np.arange(400.0).reshape(1, 20, 20)
    expected = np.zeros((1, 20, 20))
    expected[0, 19, 19] = 1
    assert np.array_equal(gradient(x, 20), expected)


def test_an_infinite_element_stays_in_its_windows() -> None:
    x = [[[inf, 1.0, 1.0, 1.0]]]
    assert tg.avg_pool2d(x, (1, 2)).tolist() == [[[inf, 1.0]]]
    assert tg.adaptive_avg_pool2d(x, (1, 2)).tolist() == [[[inf, 1.0]]]
    assert tg.upsample([x], scale_factor=(1, 2)).tolist()[0][0][0][:4] == [inf, inf, 1.0, 1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: tg.max_pool2d(x, 5), "do not fit an input"),
        (lambda x: tg.max_pool2d(x, 2, padding=2), "at most half the kernel"),
        (lambda x: tg.max_pool2d(x[0, 0], 2), "x must have 4 axes"),
        (lambda x: tg.avg_pool2d(x, 2, divisor_override=0), "must not be 0"),
        (lambda x: tg.avg_pool2d(x, 0), "at least 1"),
        (lambda x: tg.adaptive_avg_pool2d(x[:, :, :0], 1), "nothing to average"),
        (lambda x: tg.pixel_shuffle(x, 2), "do not divide"),
        (lambda x: tg.pixel_unshuffle(x, 3), "do not divide"),
        (lambda x: tg.upsample(x), "either size or scale_factor"),
        (lambda x: tg.upsample(x, 4, mode="linear"), "does not fit"),
        (lambda x: tg.upsample(x, 4, align_corners=True), "no meaning"),
        (lambda x: tg.upsample(x, scale_factor=0.1), "length 0"),
        (lambda x: tg.dropout2d(x[0, 0]), "axes"),
    ],
)  # fmt: skip
def test_errors_say_what_does_not_fit(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(np.ones((1, 1, 4, 4)))


@pytest.mark.parametrize(
    ("module", "words", "function"),
    [
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2)", lambda x: tg.max_pool2d(x, 2)),
        (nn.MaxPool2d(2, 1, padding=1), "MaxPool2d(kernel_size=2, stride=1, padding=1)",
         lambda x: tg.max_pool2d(x, 2, 1, 1)),
        (nn.AvgPool2d((2, 1)), "AvgPool2d(kernel_size=(2, 1))",
         lambda x: tg.avg_pool2d(x, (2, 1))),
        (nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d(output_size=1)",
         lambda x: tg.adaptive_avg_pool2d(x, 1)),
        (nn.PixelUnshuffle(2), "PixelUnshuffle(downscale_factor=2)",
         lambda x: tg.pixel_unshuffle(x, 2)),
        (nn.Upsample(scale_factor=2, mode="bilinear"),
         "Upsample(scale_factor=2, mode='bilinear')",
         lambda x: tg.upsample(x, scale_factor=2, mode="bilinear")),
        (nn.Unfold(2), "Unfold(kernel_size=2)", lambda x: tg.unfold(x, 2)),
    ],
)  # fmt: skip
def test_modules_are_the_functions(module: Any, words: str, function: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    assert repr(module) == words
    assert np.array_equal(module(x).data, function(x).data)


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match=r"MaxPool2d\(kernel_size, stride=None.*'kernel_size'"):
        nn.MaxPool2d()


def test_dropout2d_drops_whole_channels() -> None:
    y = tg.dropout2d(np.ones((4, 50, 3, 3)), 0.5, rng=0).data
    assert set(y.sum(axis=(2, 3)).ravel().tolist()) == {0.0, 18.0}
    assert tg.dropout(np.ones(3), 1.0).tolist() == [0, 0, 0]
    assert nn.Dropout2d(1.0)(np.ones((1, 1, 2))).tolist() == [[[0, 0]]]
    assert repr(nn.Dropout2d(0.2)) == "Dropout2d(p=0.2)"
