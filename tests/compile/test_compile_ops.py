"""Every op under ``tg.compile``: its cases forward and backward, and random programs of ops."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close, drawn, every_case, gradients, listed
from tinygrad_np.cases import Case
from tinygrad_np.definition import Op

BACKENDS = pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("native", marks=pytest.mark.slow)]
)


@BACKENDS
@every_case()
def test_compiled_has_eagers_bits(op: Op, case: Case, backend: Any) -> None:
    compare(op, case, np.float64, backend, exact=True)


@BACKENDS
@every_case(one_alone=True)
def test_compiled_and_reordered_is_close_to_eager(op: Op, case: Case, backend: Any) -> None:
    compare(op, case, np.float32, backend, exact=False)


def compare(op: Op, case: Case, dtype: Any, backend: Any, exact: bool) -> None:
    """Results and gradients for four draws of the arrays, and that these are left as they are."""
    arrays, call = drawn(case, 0, dtype)
    smooth = [i for i, (_, flag) in enumerate(arrays) if flag and op.differentiable]

    def run(*values: Any) -> list[Any]:
        tensors = [
            tg.Tensor(value, requires_grad=True) if i in smooth else value
            for i, value in enumerate(values)
        ]
        outs = listed(call(op, tensors))
        recorded = [out for out in outs if out.requires_grad]
        inputs = [tensors[i] for i in smooth]
        return [*outs, *(gradients(recorded, inputs) if recorded and inputs else [])]

    compiled = tg.compile(run, exact=exact, backend=backend)
    for seed in range(4):
        values = [value for value, _ in drawn(case, seed, dtype)[0]]
        kept = [np.array(value) for value in values]
        results = [
            [out.data if isinstance(out, tg.Tensor) else out for out in function(*values)]
            for function in (run, compiled)
        ]
        for expected, found in zip(*results, strict=True):
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            if exact:
                np.testing.assert_array_equal(found, expected)
            else:
                assert_close(found, expected, rtol=1e-5, atol=1e-6)
        for value, before in zip(values, kept, strict=True):
            np.testing.assert_array_equal(value, before)
    assert len(compiled.plans()) == 1
