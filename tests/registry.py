"""The registry's sample calls as parameters of tests: one test per op and case."""

from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.definition import Case, Op, Sample


def identifier(op: Op, case: Case) -> str:
    return f"{op.name}({case})".replace(" ", "")


# Typed loosely: NumPy's stubs know no list that holds None, as gradients may.
assert_close: Any = np.testing.assert_allclose

CALLS = [
    pytest.param(op, case, id=identifier(op, case)) for op in tg.OPS.values() for case in op.cases
]
DIFFERENTIABLE = [
    pytest.param(op, case, id=identifier(op, case))
    for op in tg.OPS.values()
    for case in op.cases
    if op.differentiable
]


def drawn(case: Case, seed: int, dtype: Any) -> tuple[list[Any], Any]:
    """The sample arrays of a case, and a function that puts arrays back in their places."""
    args, params = case.draw(seed, dtype)
    arrays: list[Any] = []

    def take(value: Any, given: Any) -> Any:
        if isinstance(given, Sample):
            arrays.append((value, given.smooth))
            return len(arrays) - 1, True
        if isinstance(given, list):
            return [take(v, g) for v, g in zip(value, given, strict=True)], None
        return value, False

    places = [take(v, g) for v, g in zip(args, case.args, strict=True)]
    named = {k: take(params[k], g) for k, g in case.params.items()}

    def put(place: Any, tensors: Any) -> Any:
        value, is_array = place
        if is_array is None:
            return [put(p, tensors) for p in value]
        return tensors[value] if is_array else value

    def call(op: Op, tensors: Any) -> Any:
        return op.function(
            *[put(p, tensors) for p in places], **{k: put(p, tensors) for k, p in named.items()}
        )

    return arrays, call


def listed(out: Any) -> list[Any]:
    """An op's results as a list: most have one, split has several."""
    return list(out) if isinstance(out, list | tuple) else [out]


def weights_for(outs: list[Any], seed: int = 1) -> list[Any]:
    """Random gradients to start from, read-only: rules must not write to what they get."""
    rng = np.random.default_rng(seed)
    weights = [np.asarray(rng.normal(size=out.shape), dtype=out.dtype) for out in outs]
    for weight in weights:
        weight.flags.writeable = False
    return weights


def gradients(
    outs: list[tg.Tensor], inputs: list[tg.Tensor], create_graph: bool = False, **keywords: Any
) -> list[Any]:
    """The gradients of randomly weighed outputs by the inputs, as arrays."""
    found = tg.grad(
        outs, inputs, weights_for(outs), create_graph=create_graph, allow_unused=True, **keywords
    )
    return [gradient.data for gradient in found]
