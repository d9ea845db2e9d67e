"""The registry's sample calls as parameters of tests: one test for each op."""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.cases import filled
from tinygrad_np.definition import Case, Op, Sample


def identifier(op: Op, case: Case) -> str:
    return f"{op.name}({case})".replace(" ", "")


# Typed loosely: NumPy's stubs know no list that holds None, as gradients may.
assert_close: Any = np.testing.assert_allclose


@contextmanager
def naming(op: Op, case: Case) -> Iterator[None]:
    """An error inside gets a note that names the sample call."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the sample call: {identifier(op, case)}")
        raise


def inputs_and_size(case: Case) -> tuple[int, int]:
    """To find the case with the most differentiable inputs, and among such ones the smallest."""
    given = [*case.args, *case.params.values()]
    flat = [item for one in given for item in (one if isinstance(one, list) else [one])]
    shapes = [item.shape for item in flat if isinstance(item, Sample) and item.smooth]
    full = [shape for shape in shapes if 0 not in shape]
    return len(full), -sum(map(math.prod, full))


def every_case(differentiable: bool = False, one_alone: bool = False) -> Callable[[Any], Any]:
    """Make one test of an op out of a check of (op, case): it is called with all cases of the op.

    A test for each of the 900 cases would cost as much as most checks. A note below the error
    names the failing case. ``differentiable`` leaves out ops without gradients. Where
    ``one_alone``, the check takes long: one case is one test, and the others are a slow one.
    """
    params = []
    for op in tg.OPS.values():
        if differentiable and not op.differentiable:
            continue
        cases, others = list(op.cases), list[Case]()
        if one_alone:
            cases.sort(key=inputs_and_size, reverse=True)
            cases, others = cases[:1], cases[1:]
        params.append(pytest.param(op, cases, id=op.name))
        if others:
            name = f"{op.name}, other cases"
            params.append(pytest.param(op, others, id=name, marks=pytest.mark.slow))

    def decorate(check: Any) -> Any:
        @functools.wraps(check)
        def test(op: Op, cases: Sequence[Case], **others: Any) -> None:
            for case in cases:
                with naming(op, case):
                    check(op, case, **others)

        own = inspect.signature(check)
        names = {"case": "cases"}
        renamed = [p.replace(name=names.get(p.name, p.name)) for p in own.parameters.values()]
        test.__signature__ = own.replace(parameters=renamed)  # type: ignore[attr-defined]
        return pytest.mark.parametrize(("op", "cases"), params)(test)

    return decorate


def drawn(case: Case, seed: int, dtype: Any) -> tuple[list[Any], Any]:
    """The sample arrays of a case, and a function that puts arrays back in their places."""
    args, params = filled(case, seed, dtype)
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
