"""Ops of one's own that are not what they should be: refused, with the op and the input named."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import assert_close
from tinygrad_np.cases import case, normal


@pytest.fixture(autouse=True)
def removed() -> Iterator[None]:
    before = dict(tg.OPS)
    yield
    for name in tg.OPS.keys() - before.keys():
        del tg.OPS[name]


OUTSIDE = leaf(2.0)


def identity(rule: Any, **settings: Any) -> Any:
    """An op "mine" of one input, with this rule."""

    @tg.op(cases=[case(normal(3))], name="mine", x=rule, **settings)
    def mine(x: Any) -> Any:
        return x * 1

    return mine


# Without rules


def doubled(**settings: Any) -> Any:
    @tg.op(cases=[case(normal(3))], name="mine", **settings)
    def mine(x: Any) -> Any:
        return 2.0 * x

    return mine


@pytest.mark.parametrize(
    "derive",
    [
        lambda f: f(leaf([1.0, 2.0])).sum().backward(),
        lambda f: (f(leaf([1.0, 2.0])) * leaf([1.0, 2.0])).sum().backward(),
        lambda f: tg.value_and_grad(lambda x: (f(x) * x).sum())([1.0, 2.0]),
        lambda f: tg.vjp(f, [1.0, 2.0])[1]([1.0, 1.0]),
        lambda f: tg.jvp(f, [[1.0, 2.0]], [[1.0, 1.0]]),
        lambda f: tg.hessian(lambda x: f(x).sum(), [1.0, 2.0]),
        lambda f: tg.checkpoint(f, leaf([1.0, 2.0])).sum().backward(),
    ],
)
def test_an_op_without_rules_is_no_constant(derive: Any) -> None:
    with pytest.raises(TypeError, match=r"op 'mine' has no gradient rules.*constant=True"):
        derive(doubled())


def test_a_ufunc_without_rules_is_no_constant() -> None:
    mine = tg.ufunc(np.heaviside, "A step.", cases=[case(normal(3), 0.5)], name="mine")
    with pytest.raises(TypeError, match="op 'mine' has no gradient rules"):
        mine(leaf([1.0, 2.0]), 0.5).sum().backward()
    assert mine(tg.Tensor([1.0]), 0.5).tolist() == [1.0]


def test_forward_alone_needs_no_rules() -> None:
    mine = doubled()
    assert mine(leaf([1.0])).tolist() == [2.0]
    with tg.no_grad():
        assert not mine(leaf([1.0])).requires_grad
    assert not mine(tg.Tensor([1.0])).requires_grad
    assert tg.draw(mine(leaf([1.0])).sum()).source


def test_an_op_may_be_declared_constant() -> None:
    x = leaf([1.0, 2.0])
    out = doubled(constant=True)(x)
    assert not out.requires_grad
    (out * x).sum().backward()
    assert_close(x.grad, out.data)
    with pytest.raises(TypeError, match="'mine' is constant=True and has gradient rules"):
        identity(lambda g: g, constant=True)


def test_integers_and_booleans_need_no_declaration() -> None:
    @tg.op(cases=[case(normal(3))], name="mine")
    def mine(x: Any) -> Any:
        return x > 0

    assert not mine(leaf([1.0])).requires_grad
    assert all(
        tg.OPS[name].constant for name in ("greater", "equal", "argmax", "all", "isnan", "invert")
    )


# What rules return


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda g: None, r"0 \(x\) of shape \(3,\) returned None"),
        (lambda g: [1.0, 2.0, 3.0], "returned a list"),
        (lambda g: (g,), "returned a tuple"),
        (lambda g: 0.0, "returned a float"),
        (lambda g: "g", "returned a str"),
        (lambda g: g * 1j, "returned an array of dtype complex128.*real"),
        (lambda g: np.array([None] * 3), "dtype object"),
        (lambda g: g[:2], r"shape \(2,\) does not fit an input of shape \(3,\)"),
        (lambda g: g.sum(), r"shape \(\) does not fit"),
        (lambda g: g[:, None] * np.ones((3, 2)), r"shape \(3, 2\) does not fit"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_must_return_a_gradient(rule: Any, words: str, create_graph: bool) -> None:
    x = leaf([1.0, 2.0, 3.0])
    loss = identity(rule)(x).sum()
    kinds = (TypeError, ValueError, IndexError)
    with pytest.raises(kinds) as caught:
        loss.backward(create_graph=create_graph)
    if not create_graph:
        assert caught.match(f"rule of op 'mine' for its .*{words}")


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, x: tg.multiply(g, tg.cos(x)),
        lambda g, x: tg.Tensor(g) * np.cos(x),
        lambda g, x: (g * np.cos(x)).astype(np.longdouble),
        lambda g, x: np.broadcast_to(g * np.cos(x), (1, 3)),
    ],
)
def test_a_rule_may_return_anything_that_converts_to_a_gradient(rule: Any) -> None:
    @tg.op(cases=[case(normal(3))], name="mine", x=rule)
    def mine(x: Any) -> Any:
        return np.sin(x)

    x = leaf([1.0, 2.0, 3.0])
    mine(x).sum().backward()
    assert type(x.grad) is np.ndarray and x.grad.dtype == float
    assert_close(x.grad, np.cos(x.data))
    tg.optim.SGD([x], lr=0.1).step()


def test_rules_of_integers_are_gradients() -> None:
    x = leaf([1.0, 2.0, 3.0])
    identity(lambda g: np.ones(3, int))(x).sum().backward()
    assert x.grad is not None and x.grad.dtype == float


# What ops return


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda x: (x, 2 * x), "mine returned a tuple of 2: an op has one result"),
        (lambda x: [x], "mine returned a list of 1"),
        (lambda x: None, "mine gives no numbers: it returned None"),
        (lambda x: "x", "mine gives no numbers: it returned a str"),
        (lambda x: {"x": x}, "mine gives no numbers: it returned a dict"),
        (lambda x: x * OUTSIDE, "mine: .*returned a Tensor with a graph of its own"),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_forward_function_must_return_an_array(
    forward: Any, words: str, requires_grad: bool
) -> None:
    mine = tg.op(cases=[case(normal(3))], name="mine", x=lambda g: g)(forward)
    with pytest.raises(TypeError, match=words):
        mine(tg.Tensor(np.ones(3), requires_grad=requires_grad))


def test_a_tensor_without_a_graph_is_a_result() -> None:
    mine = tg.op(cases=[case(normal(3))], name="mine", x=lambda g, out: g * out)(
        lambda x: tg.exp(x)
    )
    x = leaf([0.0, 1.0])
    mine(x).sum().backward()
    assert_close(x.grad, np.exp(x.data))


# Definitions


def scale(x: Any, factor: Any = 1.0, *, shift: float = 0.0) -> Any:
    return x * factor + shift


# Typed loosely: what a type checker would find, too.
op: Any = tg.op
ufunc: Any = tg.ufunc
composite: Any = tg.composite


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda: op(cases=[normal(3)], x=lambda g: g)(scale), r"cases\[0\] is a Sample, not a"),
        (lambda: op(cases=normal(3), x=lambda g: g)(scale), "has no cases: give a list"),
        (lambda: op(cases=case(normal(3)), x=lambda g: g)(scale), "has no cases: give a list"),
        (lambda: op(cases=None, x=lambda g: g)(scale), "has no cases"),
        (lambda: op(cases=[np.ones(3)], x=lambda g: g)(scale), r"cases\[0\] is a ndarray"),
        (lambda: op(cases=[(normal(3),)], x=lambda g: g)(scale), r"cases\[0\] is a tuple"),
        (lambda: op(cases=[case()], x=lambda g: g)(scale), r"cases\[0\].* does not fit"),
        (lambda: op(cases=[case(1.0, 2.0, 3.0)], x=lambda g: g)(scale), "does not fit"),
        (lambda: op(cases=[case(1.0, z=3.0)], x=lambda g: g)(scale), "does not fit"),
        (lambda: op(cases=[case(1.0)], x=None)(scale), "rule for 'x' must be a Python function"),
        (lambda: op(cases=[case(1.0)], x=np.negative)(scale), "must be a Python function"),
        (lambda: op(cases=[case(1.0)], x=lambda: 0)(scale), "must be a Python function"),
        (lambda: op(cases=[case(1.0)], x=lambda x: 2 * x)(scale), "gradient.* function of 'x'"),
        (lambda: op(cases=[case(1.0)], x=lambda out: out)(scale), "function of 'out'"),
        (lambda: op(cases=[case(1.0)], x=lambda g: g)(np.sin), "not a Python function.*tg.ufunc"),
        (
            lambda: ufunc(np.sin, "A sine.", cases=[normal(3)], name="mine", x=lambda g: g),
            r"op 'mine': cases\[0\] is a Sample",
        ),
        (lambda: composite(cases=[normal(3)])(scale), r"cases\[0\] is a Sample"),
    ],
)
def test_definitions_that_cannot_be_right_are_refused(define: Any, words: str) -> None:
    before = dict(tg.OPS)
    with pytest.raises(TypeError, match=words):
        define()
    assert before == tg.OPS


def test_cases_may_name_any_of_the_parameters() -> None:
    op(cases=[case(1.0), case(1.0, 2.0, shift=1.0), case(x=1.0)], x=lambda g: g)(scale)
