"""Every op under ``tg.compile``: all its cases forward and backward, in one program."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import arrays_of
from tests.registry import assert_close, drawn, gradients, listed, naming
from tinygrad_np.definition import Case, Op


@pytest.mark.parametrize("backend", ["numpy", pytest.param("native", marks=pytest.mark.slow)])
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "reordered"])
@pytest.mark.parametrize("op", tg.OPS.values(), ids=tg.OPS)
def test_compiled_is_eager(op: Op, exact: bool, backend: Any) -> None:
    dtype = np.float64 if exact else np.float32
    compiled = tg.compile(program(op, op.cases, dtype), exact=exact, backend=backend)
    for seed in range(4):
        values = [[value for value, _ in drawn(case, seed, dtype)[0]] for case in op.cases]
        kept = [list(map(np.array, own)) for own in values]
        results = [function(values) for function in (program(op, op.cases, dtype), compiled)]
        for case, expected, found, own, before in zip(
            op.cases, *results, values, kept, strict=True
        ):
            with naming(op, case):
                for array, copy in zip(own, before, strict=True):
                    np.testing.assert_array_equal(array, copy)
                assert_same(expected, found, exact)
    assert len(compiled.plans()) == 1


def program(op: Op, cases: Sequence[Case], dtype: Any) -> Any:
    """A step of a list of arrays for each case: lists of the results and their gradients."""
    calls = []
    for case in cases:
        arrays, call = drawn(case, 0, dtype)
        smooth = [i for i, (_, flag) in enumerate(arrays) if flag and op.differentiable]
        calls.append((call, smooth))

    def run(values: list[list[Any]]) -> list[list[Any]]:
        found = []
        for own, (call, smooth) in zip(values, calls, strict=True):
            tensors = [
                tg.Tensor(value, requires_grad=True) if i in smooth else value
                for i, value in enumerate(own)
            ]
            outs = listed(call(op, tensors))
            recorded = [out for out in outs if out.requires_grad]
            inputs = [tensors[i] for i in smooth]
            found.append([*outs, *(gradients(recorded, inputs) if recorded and inputs else [])])
        return found

    return run


def assert_same(expected: list[Any], found: list[Any], exact: bool) -> None:
    for one, other in zip(arrays_of(expected), arrays_of(found), strict=True):
        assert (other.shape, other.dtype) == (one.shape, one.dtype)
        if exact:
            np.testing.assert_array_equal(other, one)
        else:
            assert_close(other, one, rtol=1e-5, atol=1e-6)
