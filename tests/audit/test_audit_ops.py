"""Every op, on every sample call: right gradients are right, wrong ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.gradient_check import sample_call


def problem(name: str, number: int) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
    """A weighted sum of an op's result, its inputs, and their gradients; None without any."""
    op = tg.OPS[name]
    case = op.cases[number]
    inputs = [t.data.copy() for t in sample_call(op, case)[1] if t.size]
    arrays = {f"x{i}": array for i, array in enumerate(inputs)}

    def f(**given: Any) -> Any:
        call, tensors = sample_call(op, case)
        for tensor, value in zip([t for t in tensors if t.size], given.values(), strict=True):
            tensor.array, tensor.node = value.array, value.node
        found = call()
        outs = found if isinstance(found, list | tuple) else [found]
        rng = np.random.default_rng(0)
        return sum(
            (out * rng.normal(size=out.shape)).sum() for out in outs if out.dtype.kind == "f"
        )

    leaves = {key: tg.Tensor(array, True) for key, array in arrays.items()}
    loss = f(**leaves)
    if not isinstance(loss, tg.Tensor) or not loss.requires_grad or not leaves:
        return None
    loss.backward()
    return (
        f,
        arrays,
        {k: np.zeros(t.shape) if t.grad is None else t.grad for k, t in leaves.items()},
    )


@pytest.mark.parametrize("cases", [slice(1), pytest.param(slice(1, None), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", tg.OPS)
def test_an_op_right_doubled_and_with_a_sign(name: str, cases: slice) -> None:
    for number in range(len(tg.OPS[name].cases))[cases]:
        made = problem(name, number)
        if made is None:
            continue
        f, arrays, given = made
        assert tg.audit(f, arrays, given), f"case {number}"
        if any(np.any(gradient) for gradient in given.values()):
            report = tg.audit(f, arrays, {key: 2 * g for key, g in given.items()})
            assert [m.kind for m in report.mistakes] == ["factor"], str(report)
        first = next(iter(given))
        if np.abs(given[first]).max(initial=0) > 1e-9:  # not what rounding alone has left
            report = tg.audit(f, arrays, {**given, first: -given[first]})
            assert report[first].kind == "sign", str(report)
            assert all(v.right for v in report.verdicts if v.name != first)
