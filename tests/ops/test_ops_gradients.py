"""Every op's rules on every case: against numerical ones, to second order, in every dtype."""

import functools
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close, every_case, gradients, listed, weights_for
from tinygrad_np import graph
from tinygrad_np.definition import Case, Op
from tinygrad_np.gradient_check import check_op, sample_call


@every_case(differentiable=True)
def test_gradients_against_numerical_ones(op: Op, case: Case) -> None:
    report = check_op(op, case)
    if report is None:  # an empty input has no derivatives, but a gradient of its own shape
        call, inputs = sample_call(op, case)
        assert inputs
        for tensor, gradient in zip(inputs, gradients(listed(call()), inputs), strict=True):
            assert tensor.size == 0
            assert gradient.shape == tensor.shape
        return
    assert report, str(report)
    assert not report.notes, str(report)  # the samples keep away from kinks
    if op.analytic and not op.composite:
        assert {c.method for c in report.comparisons} == {"complex"}
        assert max(c.allowed for c in report.comparisons) <= 1e-12


@every_case(differentiable=True, one_alone=True)
def test_second_derivatives_against_numerical_ones(op: Op, case: Case) -> None:
    report = check_op(op, case, order=2)
    if report is None:
        return
    assert report, str(report)
    assert not report.notes, str(report)
    first = [c.input for c in report.comparisons if c.order == 1]
    second = [c.input for c in report.comparisons if c.order == 2]
    assert second[: len(first)] == first
    assert bool(second[len(first) :]) == any(out.size for out in listed(sample_call(op, case)[0]()))


@every_case()
def test_results_have_a_graph_where_the_op_is_differentiable(op: Op, case: Case) -> None:
    call, inputs = sample_call(op, case)
    assert all(out.requires_grad == bool(inputs) for out in listed(call()))
    assert bool(inputs) == op.differentiable
    with tg.no_grad():
        assert not any(out.requires_grad and out not in inputs for out in listed(call()))


@every_case(differentiable=True)
def test_recorded_gradients_equal_plain_ones(op: Op, case: Case) -> None:
    call, inputs = sample_call(op, case)
    plain = gradients(listed(call()), inputs)
    recorded = gradients(listed(call()), inputs, create_graph=True)
    for one, other in zip(plain, recorded, strict=True):
        assert_close(one, other, rtol=1e-14, atol=1e-15)


@every_case(differentiable=True)
def test_forward_mode_and_reverse_mode_agree(op: Op, case: Case) -> None:
    call, inputs = sample_call(op, case)
    outs = listed(call())
    weights = weights_for(outs)
    tangents = weights_for(inputs, seed=2)
    back = tg.grad(outs, inputs, weights, allow_unused=True)
    reverse = sum(float((b.data * t).sum()) for b, t in zip(back, tangents, strict=True))
    forward = 0.0

    def output(k: int, *primals: tg.Tensor) -> Any:
        for own, primal in zip(inputs, primals, strict=True):  # the call has its inputs inside
            own.node = primal.node
        return listed(call())[k]

    for k, weight in enumerate(weights):
        _, tangent = tg.jvp(functools.partial(output, k), inputs, tangents)
        forward += float((tangent.data * weight).sum())
    size = sum(float(np.abs(b.data * t).sum()) for b, t in zip(back, tangents, strict=True))
    assert forward == pytest.approx(reverse, rel=0, abs=1e-13 * size)


NO_LAPACK = {"inv", "solve", "det", "cofactors", "minors"}
"""NumPy's linear algebra takes float32 and float64 only."""


@pytest.mark.parametrize("dtype", ["float32", "float16", "longdouble"])
@every_case(differentiable=True)
def test_dtypes_are_kept(op: Op, case: Case, dtype: str) -> None:
    call, inputs = sample_call(op, case, dtype=dtype)
    if op.name in NO_LAPACK and dtype != "float32":
        with pytest.raises(TypeError, match=f"{op.name}: array type {np.dtype(dtype)} is unsupp"):
            call()
        return
    outs = listed(call())
    expected = np.dtype("float64" if op.name == "astype" else dtype)
    assert [out.dtype for out in outs] == [expected] * len(outs)
    for create_graph in (False, True):
        found = gradients(listed(call()), inputs, create_graph)
        assert [g.dtype for g in found] == [np.dtype(dtype)] * len(found)
        assert [g.shape for g in found] == [t.shape for t in inputs]


@every_case(differentiable=True)
def test_rules_do_not_compute_in_float64_for_float32(op: Op, case: Case) -> None:
    call, _ = sample_call(op, case, dtype=np.float32)
    outs = listed(call())
    for node in graph.reachable([out.node for out in outs if out.node is not None]):
        if node.op is None or node.op.name == "astype":
            continue
        assert node.saved is not None
        gradient = np.ones(node.shape, node.dtype)
        for parent, rule in zip(node.parents, node.op.rules, strict=False):
            if parent is not None:
                assert rule(gradient, node.saved).dtype == np.float32


@every_case(differentiable=True, one_alone=True)
def test_gradients_in_float32(op: Op, case: Case) -> None:
    report = check_op(op, case, dtype=np.float32)
    if report is not None:
        assert report, str(report)
        assert {c.dtype for c in report.comparisons} == {"float32"}


def test_norms_of_any_order_have_gradient_0_at_0() -> None:
    for order in (0.5, 1, 1.5, 2, 3, np.inf):
        x = tg.Tensor([0.0, 4.0], requires_grad=True)
        tg.norm(x, order).backward()
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx([0, 1], rel=1e-12), order
