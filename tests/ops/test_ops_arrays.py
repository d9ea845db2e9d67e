"""Every op on every kind of array, without writing to any, sharing any, or keeping any alive."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close, every_case, gradients, listed, weights_for
from tinygrad_np import graph
from tinygrad_np.cases import filled
from tinygrad_np.definition import Case, Op, Sample
from tinygrad_np.gradient_check import sample_call
from tinygrad_np.graph import Node
from tinygrad_np.tensor import plain, wrap

# Layouts: views of other arrays, with the same elements


def strided(array: Any) -> Any:
    wide = np.full([2 * n for n in array.shape], np.nan, array.dtype)
    every_other: Any = (..., *[slice(None, None, 2)] * array.ndim)
    view = wide[every_other]
    view[...] = array
    return view


def reversed_axes(array: Any) -> Any:
    return np.flip(array).copy()[(..., *[slice(None, None, -1)] * array.ndim)]


def overlapping(array: Any) -> Any:
    """The first element everywhere: a broadcast view, all of whose strides are 0."""
    return np.broadcast_to(array.ravel()[0], array.shape) if array.size else array.copy()


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "strided": strided,
    "reversed": reversed_axes,
    "Fortran": lambda array: array.copy("F"),
    "broadcast": overlapping,
}
SINGULAR = ("inv", "solve", "minors")  # which need an inverse: not of a matrix of equal elements


def replaced(tensor: tg.Tensor, array: Any) -> None:
    """Put an array of another layout under a Tensor, which copies what it is given."""
    tensor.array = array


@pytest.mark.parametrize("layout", LAYOUTS)
@every_case(differentiable=True)
def test_layouts_make_no_difference(op: Op, case: Case, layout: str) -> None:
    if layout == "broadcast" and op.name in SINGULAR:
        layout = "Fortran"
    results = []
    for change in (LAYOUTS[layout], lambda array: LAYOUTS[layout](array).copy("C")):
        call, inputs = sample_call(op, case)
        for tensor in inputs:
            view = change(tensor.data)
            assert view.shape == tensor.shape
            view.flags.writeable = False
            replaced(tensor, view)
        outs = listed(call())
        results.append([out.data for out in outs] + gradients(outs, inputs))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=1e-13, atol=1e-14)


@every_case()
def test_inputs_are_never_written_to(op: Op, case: Case) -> None:
    args, params = filled(case)
    for array in _arrays([*args, *params.values()]):
        array.flags.writeable = False
    for out in listed(op.function(*args, **params)):
        assert type(out) is tg.Tensor


def _arrays(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, list | tuple):
            yield from _arrays(list(value))


@every_case(differentiable=True)
def test_gradients_alias_nothing(op: Op, case: Case) -> None:
    call, inputs = sample_call(op, case)
    outs = listed(call())
    weights = weights_for(outs)
    results = [out.data.copy() for out in outs]
    values = [tensor.data.copy() for tensor in inputs]
    for out, weight in zip(outs, weights, strict=True):
        out.backward(weight, retain_graph=True)
    grads = [np.asarray(tensor.grad) for tensor in inputs if tensor.grad is not None]
    assert grads
    expected = [g.copy() for g in grads]
    others = [*(t.data for t in inputs), *(o.data for o in outs), *weights]
    for i, array in enumerate(grads):
        assert array.flags.writeable
        assert not any(np.shares_memory(array, other) for other in others + grads[i + 1 :])
        array.fill(np.nan)
    again = [g.data for g in tg.grad(outs, inputs, weights, retain_graph=True, allow_unused=True)]
    for one, other in zip(again, expected, strict=False):
        np.testing.assert_array_equal(one, other)
    for array in again:
        assert array.flags.writeable
        array.fill(np.nan)
    for tensor, value in zip([*inputs, *outs], values + results, strict=True):
        np.testing.assert_array_equal(tensor.data, value)
    third = tg.grad(outs, inputs, weights, allow_unused=True)
    for last, other in zip(third, expected, strict=False):
        np.testing.assert_array_equal(last.data, other)


@pytest.mark.parametrize("create_graph", [False, True])
@every_case(differentiable=True)
def test_memory_comes_back_by_reference_counting(op: Op, case: Case, create_graph: bool) -> None:
    call, inputs = sample_call(op, case)
    call()  # what is made once, at the first call, is not what we look for
    gc.disable()
    try:
        outs = listed(call())
        found = tg.grad(
            outs, inputs, weights_for(outs), create_graph=create_graph, allow_unused=True
        )
        tops = [t.node for t in [*outs, *found] if t.node is not None]
        nodes = graph.reachable(tops)
        alive: list[Any] = [weakref.ref(node) for node in nodes if node.op is not None]
        alive += [weakref.ref(tensor) for tensor in outs if tensor not in set(inputs)]
        assert alive or outs == inputs
        del outs, found, tops, nodes
        assert [ref() for ref in alive if ref() is not None] == []
    finally:
        gc.enable()


def test_leaves_are_freed() -> None:
    leaf = tg.Tensor(1.0, requires_grad=True)
    out = leaf * 2
    watched: list[Any] = [weakref.ref(leaf), weakref.ref(leaf.node), weakref.ref(out.node)]
    gc.disable()
    try:
        del leaf, out
        assert [ref() for ref in watched] == [None] * 3
    finally:
        gc.enable()


def test_a_tensor_that_no_rule_reads_is_freed_at_once() -> None:
    x = tg.Tensor(np.ones(3), requires_grad=True)
    between = x + 1
    array: Any = weakref.ref(between.data)
    out = between + 2
    del between
    assert array() is None
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1]


def test_a_node_keeps_what_its_rules_read_and_nothing_else() -> None:
    x, y = (tg.Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    node = (x * y).node
    assert node is not None
    assert node.saved is not None
    assert [value is None for value in node.saved] == [False, False, True]
    node = (x * np.full(3, 2.0)).node  # only the constant is needed
    assert node is not None
    assert node.saved is not None
    assert [value is None for value in node.saved] == [True, False, True]


def test_wrapped_views_keep_their_node() -> None:
    leaf = Node(None, (), (), (2,), np.dtype(float))
    view = wrap(np.arange(4.0)[::2], leaf)
    (view * 3).sum().backward()
    assert leaf.grad.tolist() == [3, 3]


# Lists


@every_case()
def test_nested_lists_are_arrays(op: Op, case: Case) -> None:
    args, params = filled(case)
    # An empty list tells neither a dtype nor all axes.
    arrays = [i for i, a in enumerate(case.args) if isinstance(a, Sample) and 0 not in a.shape]
    if not arrays:
        return
    given = [a.tolist() if i == arrays[0] else a for i, a in enumerate(args)]
    found, expected = (listed(op.function(*each, **params)) for each in (given, args))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(plain(one), plain(other), 1e-12)
