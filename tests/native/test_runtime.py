"""The C runtime, called directly, against NumPy: bit for bit, for any shape and strides."""

import ctypes
import functools
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinygrad_np.native import RUNTIME, blas, blas_integer, library, loop, sums_alike, unavailable
from tinygrad_np.native.toolchain import find_compiler

Array = NDArray[Any]

CALLS = """
Loop loops[1];
int each_of_two(Tuple *t) /* loops[0] on (x, out) */
{
    Array *x = ARRAY(t, 0), *out = ARRAY(t, 1);
    Nest nest = arrange(2, 1, x->ndim, x->shape, (const isize *const[]){x->strides, out->strides});
    each(loops[0], 2, (char *const[]){x->data, out->data}, &nest);
    return nest.ndim;
}
int reduce(Tuple *t) /* out has the shape of x, and strides of 0 */
{
    Array *x = ARRAY(t, 0), *out = ARRAY(t, 1);
    Nest nest = arrange(3, 1, x->ndim, x->shape,
                        (const isize *const[]){out->strides, x->strides, out->strides});
    each(loops[0], 3, (char *const[]){out->data, x->data, out->data}, &nest);
    return nest.ndim;
}
int sum_row(Tuple *t)
{
    sum(loops[0], ARRAY(t, 0)->data, ARRAY(t, 0)->strides[0], ARRAY(t, 1)->data,
        ARRAY(t, 0)->shape[0]);
    return 0;
}
int copies(Tuple *t)
{
    Array *x = ARRAY(t, 0), *out = ARRAY(t, 1);
    copy(out->data, out->strides, x->data, x->strides, x->ndim, x->shape, (isize)NUMBER(t, 2));
    return 0;
}
int gathers(Tuple *t)
{
    Array *x = ARRAY(t, 0), *index = ARRAY(t, 1);
    return gather(ARRAY(t, 2)->data, x->data, (int64_t *)index->data, index->shape[0], x->shape[0],
                  x->strides[0]);
}
int scatters(Tuple *t)
{
    Array *x = ARRAY(t, 0), *index = ARRAY(t, 1), *out = ARRAY(t, 2);
    return scatter_add(loops[0], out->data, x->data, (int64_t *)index->data, index->shape[0],
                       out->shape[0], x->shape[1], x->strides[1]);
}
int greatest(Tuple *t)
{
    Array *x = ARRAY(t, 0);
    *DATA(double, t, 1) = max_double(DATA(double, t, 0), x->shape[0]);
    return argmax_double(DATA(double, t, 0), x->strides[0] / 8, x->shape[0]);
}
"""


@functools.cache
def compiled() -> Any:
    return library(f"#define BLAS_INT {blas_integer()}\n{RUNTIME}\n{CALLS}")


def call(name: str, *arguments: Any, by: tuple[np.ufunc, str] | None = None) -> int:
    loaded = compiled()
    if by is not None:
        found = loop(*by)
        assert found is not None
        (ctypes.c_void_p * 2).in_dll(loaded, "loops")[:] = [*found]
    function = getattr(loaded, name)
    function.argtypes = [ctypes.py_object]
    result: int = function(arguments)
    return result


@st.composite
def arrays(draw: st.DrawFn, dtypes: str = "fd") -> Array:
    """Any axes in any order, with steps, forwards and backwards."""
    lengths = st.lists(st.sampled_from([0, 1, 1, 2, 3, 9, 17, 130]), max_size=4)
    shape = draw(lengths.filter(lambda shape: math.prod(shape) < 20_000))
    steps = [draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    whole = rng.standard_normal([n * abs(s) for n, s in zip(shape, steps, strict=True)])
    x: Array = np.asarray(3 * whole, draw(st.sampled_from(dtypes)))
    index: Any = (..., *(slice(None, None, step) for step in steps))
    x = x[index]
    return x.transpose(draw(st.permutations(range(len(shape)))))


@given(arrays("efd"), st.data())
def test_sums_over_any_axes_are_numpys(x: Array, data: st.DataObject) -> None:
    axes = tuple(axis for axis in range(x.ndim) if data.draw(st.booleans()))
    total = np.zeros([1 if axis in axes else n for axis, n in enumerate(x.shape)], x.dtype)
    call("reduce", x, np.broadcast_to(total, x.shape), by=(np.add, x.dtype.char * 3))
    expected = np.add.reduce(x, axis=axes, keepdims=True)
    if sums_alike(x, axes):
        assert total.tobytes() == expected.tobytes()
    elif x.dtype.char != "e":
        assert np.allclose(total, expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(100_000,), (3, 20_000), (20_000, 3), (3, 9000, 2)])
def test_long_sums_are_numpys(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for view in (x, x[::-1], x[::3], x[..., ::2], x.T):
        for axes in ((), (0,), (x.ndim - 1,), tuple(range(x.ndim))):
            kept = [1 if axis in axes else n for axis, n in enumerate(view.shape)]
            total = np.zeros(kept, x.dtype)
            call("reduce", view, np.broadcast_to(total, view.shape), by=(np.add, "fff"))
            same = total.tobytes() == np.add.reduce(view, axis=axes, keepdims=True).tobytes()
            assert same or not sums_alike(view, axes)


@given(arrays(), st.data())
def test_whole_arrays_are_summed_alike_over_all_and_over_one_axis(
    x: Array, data: st.DataObject
) -> None:
    whole = np.ascontiguousarray(x)
    for axes in (range(whole.ndim), *({axis} for axis in range(whole.ndim))):
        assert sums_alike(whole, axes) or not whole.size


@given(arrays(), st.data())
def test_maxima_over_an_axis_are_numpys(x: Array, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from(range(x.ndim))) if x.ndim else None
    if axis is None or not x.size:
        return
    specials = data.draw(st.lists(st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf])))
    x.flat[: len(specials)] = specials[: x.size]
    most = np.take(x, [0], axis)
    rest = x[(slice(None),) * axis + (slice(1, None),)]
    call("reduce", rest, np.broadcast_to(most, rest.shape), by=(np.maximum, x.dtype.char * 3))
    assert most.tobytes() == np.maximum.reduce(x, axis=axis, keepdims=True).tobytes()


@given(arrays(), st.booleans())
def test_loops_over_any_strides_are_the_ufuncs(x: Array, like: bool) -> None:
    out = np.empty_like(x) if like else np.empty(x.shape, x.dtype)
    call("each_of_two", x, out, by=(np.tanh, x.dtype.char * 2))
    assert out.tobytes() == np.tanh(x).tobytes()


def test_neighbouring_axes_are_joined() -> None:
    out = np.empty((3, 1, 4, 5))
    by = (np.tanh, "dd")
    assert call("each_of_two", np.ones((3, 1, 4, 5)), out, by=by) == 1
    assert call("each_of_two", np.ones((3, 1, 4, 10))[..., :5], out, by=by) == 2
    assert call("each_of_two", np.array(2.0), np.array(2.0), by=by) == 0


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 128, 129, 1000, 8192])
@pytest.mark.parametrize("char", "fd")
def test_a_row_is_summed_pairwise(n: int, char: str) -> None:
    for x in (np.random.default_rng(n).standard_normal(n).astype(char),):
        for row in (x, x[::-1], x[::3]):
            total = np.zeros((), char)
            call("sum_row", row, total, by=(np.add, char * 3))
            assert total.tobytes() == np.sum(row).tobytes()


@given(arrays(), st.sampled_from("?hfdD"))
def test_copies_of_any_strides(x: Array, char: str) -> None:
    x = x.astype(char)
    out = np.empty(x.shape, char)
    call("copies", x, out, float(x.itemsize))
    assert out.tobytes() == x.tobytes()
    call("copies", np.broadcast_to(x, (2, *x.shape)), (twice := np.empty((2, *x.shape), char)),
         float(x.itemsize))  # fmt: skip
    assert twice.tobytes() == x.tobytes() * 2


def test_rows_by_index() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    index = np.array([0, 4, -1, 2, 2, -5])
    out = np.empty((6, 3), np.float32)
    assert call("gathers", x, index, out) == 0
    assert np.array_equal(out, x[index])
    total = np.zeros((5, 3), np.float32)
    expected = total.copy()
    np.add.at(expected, index, out)
    assert call("scatters", out, index, total, by=(np.add, "fff")) == 0
    assert total.tobytes() == expected.tobytes()


@pytest.mark.parametrize("wrong", [5, -6, 2**62, -(2**63)])
def test_an_index_out_of_bounds_is_told(wrong: int) -> None:
    x, index, out = np.ones((5, 3)), np.array([0, wrong]), np.zeros((2, 3))
    assert call("gathers", x, index, out) == 1
    assert call("scatters", out, index, x, by=(np.add, "ddd")) == 1


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, np.inf, -np.inf]), min_size=1))
def test_the_greatest_and_where_it_is(numbers: list[float]) -> None:
    x, most = np.array(numbers), np.zeros(1)
    for row in (x, np.repeat(x, 2)[::2]):
        assert call("greatest", row, most) == row.argmax()
    assert call("greatest", x, most) == x.argmax()
    assert np.array_equal(most[0], x.max(), equal_nan=True)


def test_the_text_compiles_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text(f"#define BLAS_INT int64_t\n{RUNTIME}\n{CALLS}")
    command = [
        *find_compiler().command,
        "-std=gnu11",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Wno-unused-function",
        "-c",
        "x.c",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_layout_is_as_expected() -> None:
    assert unavailable() is None


def test_blas_by_address() -> None:
    integer = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}[blas_integer()]
    address = blas("cblas_ddot")
    assert address
    kind = ctypes.CFUNCTYPE(
        ctypes.c_double, integer, ctypes.c_void_p, integer, ctypes.c_void_p, integer
    )
    x = np.arange(4.0)
    assert kind(address)(4, x.ctypes.data, 1, x.ctypes.data, 1) == 14.0
    assert blas("cblas_nonsense") is None
