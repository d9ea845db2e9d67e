"""Tensors whose graph is still to be used do not become Python numbers by themselves."""

import array
import cmath
import ctypes
import fractions
import logging
import math
import operator
import statistics
import struct
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tinygrad_np.cases import case, normal


def computed() -> tg.Tensor:
    return leaf([1.0, 2.0]).sum()


masked: Any = np.ma


def times(target: Any, value: Any) -> None:
    target *= value


def assign(target: Any, index: Any, value: Any) -> None:
    target[index] = value


CUTS: dict[str, Any] = {
    "float": float,
    "int": int,
    "complex": complex,
    "index": operator.index,
    "math.cos": math.cos,
    "math.floor": math.floor,
    "math.fsum": lambda t: math.fsum([t, t]),
    "math.hypot": lambda t: math.hypot(t, 1.0),
    "cmath.exp": cmath.exp,
    "struct": lambda t: struct.pack("d", t),
    "array.array": lambda t: array.array("d", [t]),
    "ctypes": ctypes.c_double,
    "range": range,
    "round": round,
    "trunc": math.trunc,
    "fraction": fractions.Fraction,
    "list index": lambda t: [1, 2, 3, 4][t],
    "setitem": lambda t: assign(np.zeros(2), 0, t),
    "setitem slice": lambda t: assign(np.zeros(2), slice(None), t),
    "setitem mask": lambda t: assign(np.zeros(2), np.array([True, False]), t),
    "setitem list": lambda t: assign(np.zeros(2), slice(None), [t, t]),
    "flat": lambda t: assign(np.zeros(2).flat, 0, t),
    "add in place": lambda t: assign(np.zeros(2), 0, np.zeros(2)[0] + t),
    "fill": lambda t: np.zeros(2).fill(t),
    "full": lambda t: np.full(2, t),
    "full_like": lambda t: np.full_like(np.ones(2), t),
    "full_like of a Tensor": lambda t: np.full_like(leaf([1.0]), t),
    "fromiter": lambda t: np.fromiter([t, t], float),
    "array": lambda t: np.array([t, t]),
    "array with numbers": lambda t: np.array([1.0, t]),
    "asarray": np.asarray,
    "float64": np.float64,
    "float32": np.float32,
    "copyto": lambda t: np.copyto(np.zeros(2), t),
    "put": lambda t: np.zeros(2).put(0, t),
    "itemset": lambda t: np.put(np.zeros(2), 0, t),
    "linspace": lambda t: np.linspace(0, t, 3),
    "interp": lambda t: np.interp(t, [0.0, 9.0], [0.0, 1.0]),
    "rng": lambda t: np.random.default_rng(0).normal(t),
    "masked * t": lambda t: np.ma.masked_array([1.0, 2.0], [True, False]) * t,
    "masked *= t": lambda t: times(np.ma.masked_array([1.0, 2.0], [True, False]), t),
    "t * masked": lambda t: t * np.ma.masked_array([1.0, 2.0], [True, False]),
    "np.ma.exp": np.ma.exp,
    "np.ma.where": lambda t: masked.where(np.array([True]), t, 0.0),
    "sum initial": lambda t: np.zeros(2).sum(initial=t),
    "statistics": lambda t: statistics.fmean([t, t]),
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("make", [computed, lambda: leaf(3.0)], ids=["computed", "leaf"])
def test_a_number_would_cut_the_graph(name: str, make: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning is not an error
        with pytest.raises((TypeError, ValueError, struct.error)) as caught:
            CUTS[name](make())
    if str(caught.value).startswith("setting an"):  # NumPy's: its cause is shown above it
        assert "tensor.item()" in str(caught.value.__cause__)


@pytest.mark.parametrize("cut", [float, int, complex, math.cos, operator.index])
def test_the_error_says_what_to_write(cut: Any) -> None:
    with pytest.raises(TypeError, match=r"(?s)graph would be cut.*\.item\(\).*\.detach\(\)"):
        cut(computed())


def test_the_cause_is_named_where_numpy_s_error_misleads() -> None:
    squares, w = np.zeros(2), leaf([2.0, 3.0])
    with pytest.raises(ValueError, match="sequence") as caught:
        squares[0] = w[0] ** 2
    assert "graph would be cut" in str(caught.value.__cause__)


# Nothing changes where no graph is lost


def test_without_a_graph_numbers_are_numbers() -> None:
    t = tg.Tensor(2.0)
    assert (float(t), int(t), complex(t), math.sqrt(t * 2)) == (2.0, 2, 2 + 0j, 2.0)
    assert [1, 2, 3][tg.Tensor(1)] == 2
    out = np.zeros(2)
    out[0] = t
    assert out[0] == 2
    assert (np.ma.masked_array([1.0, 2.0], [True, False]) * t).tolist() == [None, 4.0]
    assert np.full_like(tg.Tensor([1.0, 1.0]), t).tolist() == [2.0, 2.0]
    with tg.no_grad():
        assert float(leaf(3.0)) == 3 and float(computed()) == 3
    assert float(leaf(3.0).detach()) == 3


def test_a_consumed_graph_is_none() -> None:
    w = leaf([1.0, 2.0])
    hidden = w * w
    loss = hidden.sum()
    other = hidden.mean()  # its graph ends where the loss's pass has released it
    loss.backward()
    assert (float(loss), float(other), float(hidden[0])) == (5.0, 2.5, 1.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(TypeError):
        float(loss)
    with pytest.raises(TypeError):
        float(hidden.sum() + w.sum())


def test_printing_and_questions_are_allowed(caplog: Any) -> None:
    t = computed()
    assert (f"{t:.3f}", "%.2f" % t, "%d of %s" % (t, 4)) == ("3.000", "3.00", "3 of 4")  # noqa: UP031
    text = "%.1f"
    text %= t
    assert text == "3.0" and b"%.1f" % t == b"3.0"
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("loss %.3f", t)
    assert "loss 3.000" in caplog.text
    assert "3." in str(t) and "3." in f"{t}"
    assert bool(t) and t > 2 and (t == 3) and max(t, t * 2) is not t
    assert [float(v.data) for v in sorted([t * 2, t])] == [3.0, 6.0]
    assert isinstance(sum([t, t]), tg.Tensor) and t in [t]


def test_a_rule_is_not_cut_at_second_order() -> None:
    @tg.op(cases=[case(normal())], name="cutting", x=lambda g, x: g * float(x))
    def cutting(x: Any) -> Any:
        return x * x / 2

    try:
        x = leaf(3.0)
        cutting(x).backward()
        assert x.grad == 3
        with pytest.raises(TypeError, match=r"\.item\(\)") as caught:
            tg.grad(cutting(x), x, create_graph=True)
        assert "cutting" in "".join(caught.value.__notes__)
    finally:
        del tg.OPS["cutting"]


@pytest.mark.parametrize("name", ["floor", "ceil", "rint", "trunc", "sign"])
def test_step_functions_have_gradient_zero(name: str) -> None:
    x = leaf([-1.5, 0.25, 2.75])
    y = getattr(np, name)(x)
    assert isinstance(y, tg.Tensor) and y.tolist() == getattr(np, name)(x.data).tolist()
    (y * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == y.tolist()
