"""Gradients as functions: grad and its relatives, against formulas; checkpoints."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.helpers import leaf
from tests.registry import assert_close
from tinygrad_np import graph
from tinygrad_np.tensor import Tensor

RNG = np.random.default_rng(5)
A = RNG.normal(size=(3, 3))
B = RNG.normal(size=(4, 3))
X = RNG.normal(size=3)


def quadratic(x: Any) -> Any:
    return x @ A @ x


# grad


def test_grad_of_one_and_of_several_inputs() -> None:
    x, y = leaf(X), leaf(2.0)
    out = (x * x).sum() * y
    single = tg.grad(out, x, retain_graph=True)
    assert type(single) is Tensor
    assert_close(single.data, 4 * X)
    several = tg.grad(out, [x, y])
    assert type(several) is tuple
    assert_close(several[1].data, (X**2).sum())
    assert x.grad is None
    assert not single.requires_grad


def test_grad_of_several_outputs_adds_them_up() -> None:
    x = leaf([1.0, 2.0])
    a, b = x * 2, x * x
    found = tg.grad([a, b, a], x, [np.ones(2), np.array([1.0, 10.0]), [0.0, 1.0]])
    assert_close(found.data, [2 + 2, 2 + 40 + 2])


def test_grad_of_an_output_that_is_an_input() -> None:
    x = leaf([1.0, 2.0])
    assert_close(tg.grad(x, x, [3.0, 4.0]).data, [3, 4])


def test_gradients_can_be_differentiated_many_times() -> None:
    x = leaf(0.7)
    value = tg.sin(x)
    expected = [np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7), np.cos(0.7), -np.sin(0.7)]
    for derivative in expected:
        value = tg.grad(value, x, create_graph=True)
        assert_close(value.data, derivative, 1e-14)


def test_grad_outputs_may_be_differentiated_too() -> None:
    x, v = leaf(X), leaf(np.ones(3))
    pulled = tg.grad(x * x, x, v, create_graph=True)
    assert_close(tg.grad(pulled.sum(), v).data, 2 * X)


@pytest.mark.parametrize("dtype", [int, np.float16])
def test_grad_outputs_have_the_outputs_dtype(dtype: Any) -> None:
    x = leaf(np.ones(100))
    out, weights = tg.dropout(x, 0.3, rng=1), Tensor(np.ones(100, dtype))
    for create_graph in (False, True):
        found = tg.grad(out, x, weights, create_graph, retain_graph=True)
        assert_close(found.data, out.data, 1e-15)


def test_gradient_penalty() -> None:
    """The norm of a gradient, itself trained on."""
    w = leaf(A)

    def penalty(w: Tensor) -> Tensor:
        x = Tensor(X, requires_grad=True)
        g = tg.grad(tg.tanh(x @ w).sum(), x, create_graph=True)
        return (g * g).sum()

    penalty(w).backward()
    numerical = np.empty_like(A)
    for i in np.ndindex(A.shape):
        moved = A.copy()
        moved[i] += 1e-6
        back = A.copy()
        back[i] -= 1e-6
        numerical[i] = (penalty(leaf(moved)).item() - penalty(leaf(back)).item()) / 2e-6
    assert_close(w.grad, numerical, 1e-6, 1e-8)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, y: tg.grad(x * 2, [x, y]), ValueError, r"depends on input 1.*allow_unused"),
        (lambda x, y: tg.grad(x * 2, Tensor(1.0)), ValueError, r"input 0 .*does not require grad"),
        (lambda x, y: tg.grad([x, y], x, [1.0]), ValueError, "2 outputs, but 1 grad_outputs"),
        (lambda x, y: tg.grad(x.detach(), x), RuntimeError, "no graph leads to"),
        (lambda x, y: tg.grad(tg.stack([x, x]), x), ValueError, "non-scalar"),
        (lambda x, y: tg.jvp(lambda a: a, [x], []), ValueError, "1 primals, but 0 tangents"),
        (lambda x, y: tg.jvp(lambda a: a, [x], [[1.0, 2.0]]), ValueError, r"shape \(2,\)"),
        (lambda x, y: tg.jacobian(Tensor.item, 1.0), TypeError, "must return a Tensor, got float"),
        (lambda x, y: tg.hessian(lambda a: a, [1, 2]), TypeError, r"floating-point.*int64.*2\.0"),
        (lambda x, y: tg.hessian(lambda a: a * 2, [1.0, 2.0]), ValueError, "non-scalar"),
        (lambda x, y: tg.value_and_grad(lambda a: a * 2)([1.0, 2.0]), ValueError, "non-scalar"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(leaf(1.0), leaf(2.0))


def test_allow_unused_gives_zeros() -> None:
    x, y = leaf(1.0), Tensor(np.ones(3, np.float32), requires_grad=True)
    unused = tg.grad(x * 2, [x, y], allow_unused=True)[1]
    assert_close(unused.data, np.zeros(3))
    assert unused.dtype == np.float32


# value_and_grad, vjp, jvp


def test_value_and_grad() -> None:
    value, gradient = tg.value_and_grad(quadratic)(X)
    assert_close(value.data, X @ A @ X)
    assert_close(gradient.data, (A + A.T) @ X)
    assert not value.requires_grad


def test_value_and_grad_of_several_arguments_and_keywords() -> None:
    def f(x: Any, y: Any, scale: float = 1.0) -> Any:
        return (x * y).sum() * scale

    _, (dx, dy) = tg.value_and_grad(f, (0, 1))(X, 2 * X, scale=3.0)
    assert_close(dx.data, 6 * X)
    assert_close(dy.data, 3 * X)
    _, last = tg.value_and_grad(f, 1)(Tensor(X), leaf(X))
    assert_close(last.data, X)


def test_vjp_can_be_pulled_again() -> None:
    out, pull = tg.vjp(lambda x, y: B @ x * y, X, 2.0)
    assert_close(out.data, 2 * B @ X)
    for v in np.eye(4):
        dx, dy = pull(v)
        assert_close(dx.data, 2 * v @ B)
        assert_close(dy.data, v @ B @ X)


def test_jvp() -> None:
    t = RNG.normal(size=3)
    out, tangent = tg.jvp(lambda x: tg.tanh(B @ x), [X], [t])
    assert_close(out.data, np.tanh(B @ X))
    assert_close(tangent.data, (1 - np.tanh(B @ X) ** 2) * (B @ t), 1e-12)


def test_jvp_of_several_primals_and_of_functions_without_influence() -> None:
    _, tangent = tg.jvp(lambda x, y: x * y, [X, X + 1], [np.ones(3), 2 * np.ones(3)])
    assert_close(tangent.data, (X + 1) + 2 * X)
    for constant in (lambda x: Tensor(np.ones(2)), lambda x: tg.sign(x)[:2], lambda x: x[:2] * 0):
        _, tangent = tg.jvp(constant, [X], [np.ones(3)])
        assert_close(tangent.data, np.zeros(2))


def test_the_jvp_of_a_linear_function_is_itself() -> None:
    t = RNG.normal(size=3)
    assert_close(tg.jvp(lambda x: B @ x, [X], [t])[1].data, B @ t, 1e-14)


def test_jvp_is_by_its_arguments_alone() -> None:
    """Also where they are one Tensor twice, come from each other, or are closed over."""
    x = leaf(3.0)
    assert tg.jvp(lambda a, b: a * b, [x, x], [1.0, 0.0])[1].item() == 3
    assert tg.jvp(lambda a, b: a * b, [x, x * 2], [1.0, 0.0])[1].item() == 6
    assert tg.jvp(lambda a: a * x, [x], [1.0])[1].item() == 3


def test_derivatives_inside_no_grad() -> None:
    def cubic(x: Any) -> Any:
        return x * x * x

    with tg.no_grad():
        assert tg.jvp(cubic, [2.0], [1.0])[1].item() == 12
        assert tg.vjp(cubic, 2.0)[1](1.0)[0].item() == 12
        assert tg.value_and_grad(cubic)(2.0)[1].item() == 12
        assert tg.jacobian(cubic, 2.0).item() == 12
        assert tg.hessian(cubic, 2.0).item() == 12
        assert tg.hvp(cubic, 2.0, 1.0).item() == 12


def test_functions_that_do_not_use_their_input_have_derivatives_of_zero() -> None:
    def constant(*_: Any) -> Any:
        return tg.Tensor(3.0)

    with tg.no_grad():
        value, gradient = tg.value_and_grad(constant)(X)
        assert value.item() == 3 and gradient.tolist() == [0, 0, 0]
        assert tg.vjp(constant, X, X)[1](1.0)[1].tolist() == [0, 0, 0]
        assert tg.jvp(constant, [X], [X])[1].item() == 0
        assert tg.jacobian(constant, X).tolist() == [0, 0, 0]
        assert tg.hessian(constant, X).tolist() == np.zeros((3, 3)).tolist()
        assert tg.hvp(constant, X, X).tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError, match="int64"):
        tg.value_and_grad(lambda x: tg.argmax(x))(X)


def test_a_derivative_of_a_derivative_is_not_lost() -> None:
    def cubic(x: Any) -> Any:
        return (x**3).sum()

    inner = {
        "value_and_grad": lambda x: tg.value_and_grad(cubic)(x * 1.0)[1],
        "vjp": lambda x: tg.vjp(cubic, x)[1](1.0)[0],
        "hvp": lambda x: tg.hvp(cubic, x, X),
    }
    for derivative in inner.values():
        with pytest.raises(TypeError, match="create_graph"):
            tg.jacobian(derivative, X)
        tg.jacobian(lambda x, d=derivative: x * d(x.detach()), X)
    recorded = tg.jacobian(lambda x: tg.grad(cubic(x), x, create_graph=True), X)
    assert_close(recorded.data, np.diag(6 * X), 1e-12)


# Jacobians and Hessians


def test_jacobian_of_matrices() -> None:
    assert_close(tg.jacobian(lambda x: B @ x, X).data, B)
    found = tg.jacobian(lambda x: x.reshape(3, 3) @ X, A.ravel())
    assert_close(found.data, np.kron(np.eye(3), X))
    assert tg.jacobian(lambda m: m.T, A).shape == (3, 3, 3, 3)
    assert tg.jacobian(lambda m: m.sum(), A).shape == (3, 3)
    assert_close(tg.jacobian(lambda m: Tensor([1.0, 2.0]), X).data, np.zeros((2, 3)))


def test_hessian_of_a_quadratic_form() -> None:
    assert_close(tg.hessian(quadratic, X).data, A + A.T, 1e-14)


def test_hessian_of_rosenbrock() -> None:
    def rosenbrock(x: Any) -> Any:
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    a, b = 1.2, 0.7
    expected = [[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]]
    assert_close(tg.hessian(rosenbrock, [a, b]).data, expected, 1e-12)


def test_hessian_of_logsumexp_is_the_covariance_of_softmax() -> None:
    p = np.exp(X) / np.exp(X).sum()
    assert_close(tg.hessian(tg.logsumexp, X).data, np.diag(p) - np.outer(p, p), 1e-12, 1e-15)


def test_hvp_is_the_hessian_times_a_vector() -> None:
    v = RNG.normal(size=3)

    def f(x: Any) -> Any:
        return tg.softplus(B @ x).sum() * (x * x).mean()

    assert_close(tg.hvp(f, X, v).data, tg.hessian(f, X).data @ v, 1e-12)
    assert_close(tg.hvp(lambda x: x.sum(), X, v).data, np.zeros(3))


# Checkpoints


def block(x: Any, w: Any) -> Any:
    return tg.tanh(x @ w) * tg.exp(tg.sin(x) * 0.1)


def test_checkpoint_gives_the_same_values_and_gradients() -> None:
    results = []
    for run in (block, lambda *a: tg.checkpoint(block, *a)):
        x, w = leaf(RNG.normal(size=(2, 3)) * 0 + X), leaf(A)
        out = run(run(x, w), w)
        out.sum().backward()
        results.append((out.data, x.grad, w.grad))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, 1e-14)


def test_checkpoint_keeps_no_intermediate_arrays() -> None:
    inside: list[Any] = []

    def remember(x: Any) -> Any:
        y = tg.exp(x)
        inside.append(weakref.ref(y.node))
        return tg.exp(y * 0.1)

    x = leaf(X)
    out = tg.checkpoint(remember, x)
    assert inside[0]() is None
    assert [n.op.name for n in graph.reachable([out.node]) if n.op] == ["checkpoint"]  # type: ignore[list-item]
    out.sum().backward()
    assert len(inside) == 2


def test_checkpoint_gives_gradients_to_tensors_in_the_closure() -> None:
    x, w, b = leaf(X), leaf(A), leaf(1.0)
    scaled = w * 2  # computed outside: its own past must get its share, too

    def closed(x: Any) -> Any:
        return tg.tanh(x @ scaled) * b

    tg.checkpoint(closed, x).sum().backward()
    found = [t.grad for t in (x, w, b)]
    for t in (x, w, b):
        t.zero_grad()
    closed_out = tg.tanh(x @ (w * 2)) * b
    closed_out.sum().backward()
    for one, t in zip(found, (x, w, b), strict=True):
        assert_close(one, t.grad, 1e-14)


def test_checkpoint_of_nothing_but_a_closure() -> None:
    w = leaf(X)
    tg.checkpoint(lambda: w * 2).sum().backward()
    assert_close(w.grad, [2, 2, 2])
    w.zero_grad()
    tg.checkpoint(lambda: w).sum().backward()
    assert_close(w.grad, [1, 1, 1])
    w.zero_grad()
    tg.checkpoint(lambda x: x, w).sum().backward()
    assert_close(w.grad, [1, 1, 1])


def _of_closures(run: Any, x: Any) -> Any:
    y = x * x
    return run(lambda: x * y)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "run",
    [
        _of_closures,
        lambda run, x: run(lambda a, b: a * b, x, x),
        lambda run, x: run(lambda a, b: a * b, x, x * 2),
        lambda run, x: run(lambda a: a * x, x),
        lambda run, x: run(lambda a: a * x, x * 2),
        lambda run, x: run(lambda a: run(lambda b: a * b * x, a * x), x),
    ],
)
def test_checkpoint_counts_each_way_once(run: Any, create_graph: bool) -> None:
    """Where inputs are given twice, are closed over as well, or are computed from each other."""
    x, y = leaf(X), leaf(X)
    run(tg.checkpoint, x).sum().backward(create_graph=create_graph)
    run(lambda function, *args: function(*args), y).sum().backward()
    assert_close(x.grad, y.grad, 1e-14)


def test_checkpoint_draws_the_same_random_numbers_again() -> None:
    rng = np.random.default_rng(3)
    x = leaf(np.ones(1000))
    out = tg.checkpoint(lambda x: tg.dropout(x, 0.5, rng=rng), x, rng=rng)
    after = rng.bit_generator.state
    out.sum().backward()
    assert rng.bit_generator.state == after
    assert_close(x.grad, out.data)  # 0 or 2, where the mask was
    x.zero_grad()
    out = tg.checkpoint(lambda x: tg.dropout(x, 0.5), x)  # by the default generator
    out.sum().backward()
    assert_close(x.grad, out.data)


@pytest.mark.parametrize("seed", [None, 3])
def test_checkpoint_draws_the_same_random_numbers_again_when_compiled(seed: int | None) -> None:
    rng, x = np.random.default_rng(seed) if seed else None, leaf(np.ones(100))

    @tg.compile
    def step() -> Tensor:
        out = tg.checkpoint(lambda x: tg.dropout(x, 0.5, rng=rng), x, rng=rng)
        return tg.grad(out.sum(), x) - out

    for _ in range(4):
        assert_close(step().data, np.zeros(100))


def test_checkpoint_inside_checkpoint() -> None:
    x = leaf(X)

    def inner(x: Any) -> Any:
        return tg.sin(x)

    def outer(x: Any) -> Any:
        return tg.checkpoint(inner, tg.checkpoint(inner, x) * 2)

    tg.checkpoint(outer, x).sum().backward()
    assert_close(x.grad, np.cos(2 * np.sin(X)) * 2 * np.cos(X), 1e-14)


def test_checkpoint_to_second_order() -> None:
    report = tg.gradcheck(lambda x, w: tg.checkpoint(block, x, w).sum(), [X, A], order=2)
    assert report, str(report)
    w = leaf(A)
    assert tg.gradcheck(lambda x: tg.checkpoint(lambda x: block(x, w), x).sum(), X, order=2)


@pytest.mark.parametrize("targets", [slice(None), slice(1), slice(1, 2)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_checkpoints_are_freed_by_reference_counting(create_graph: bool, targets: slice) -> None:
    x, w = leaf(X), leaf(A)
    gc.disable()
    try:
        out = tg.exp(tg.checkpoint(block, x, w)).sum()
        found = tg.grad(out, [x, w][targets], create_graph=create_graph)
        tops = [t.node for t in (out, *found) if t.node is not None]
        alive = [weakref.ref(n) for n in graph.reachable(tops) if n.op is not None]
        del out, found, tops
        assert [ref() for ref in alive if ref() is not None] == []
    finally:
        gc.enable()


def test_checkpoint_without_recording() -> None:
    x = leaf(X)
    with tg.no_grad():
        assert not tg.checkpoint(tg.exp, x).requires_grad
    assert not tg.checkpoint(tg.exp, Tensor(X)).requires_grad
    with pytest.raises(TypeError, match="checkpoint: the function must return a Tensor"):
        tg.checkpoint(lambda x: [x], x)  # type: ignore[arg-type,return-value]


def test_a_consumed_checkpoint_is_refused() -> None:
    x = leaf(X)
    out = tg.checkpoint(tg.exp, x).sum()
    out.backward()
    with pytest.raises(tg.GraphReleasedError):
        out.backward()


count: Any = len  # no function of Tensors
gradient: Any = tg.grad


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: tg.value_and_grad(count)(d), "value_and_grad: argument 0 is a dict of several"),
        (
            lambda d: tg.value_and_grad(count)([*d.values()]),
            "argument 0 is a list of several arrays",
        ),
        (lambda d: tg.value_and_grad(count)([leaf(X), leaf(A)]), "argument 0 is a list of several"),
        (lambda d: tg.value_and_grad(count, (0, 1))(X, tuple(d.values())), "argument 1 is a tuple"),
        (lambda d: tg.value_and_grad(count)(None), "argument 0 is a NoneType"),
        (lambda d: tg.value_and_grad(count)("x"), "argument 0 is a str"),
        (lambda d: tg.value_and_grad(count)(tg.nn.Linear(2, 2)), r"is a Linear.*loss\.backward"),
        (lambda d: tg.vjp(count, X, d), "vjp: primal 1 is a dict"),
        (lambda d: tg.jvp(count, [d], [d]), "jvp: primal 0 is a dict"),
        (lambda d: tg.jacobian(count, d), "jacobian: x is a dict"),
        (lambda d: tg.hessian(count, d), "hessian: x is a dict"),
        (lambda d: tg.hvp(count, d, d), "hvp: x is a dict"),
        (lambda d: gradient(leaf(X).sum(), X), r"grad: input 0 is a .*float64"),
        (lambda d: gradient(leaf(X).sum(), d), "grad: input 0 is a str: .*values"),
    ],
)
def test_errors_name_a_container_and_the_accepted_types(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call({"a": np.ones(2), "b": np.ones((3, 2))})


def test_argnums_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="argnums=2, but 1 positional arguments"):
        tg.value_and_grad(tg.sum, 2)(X)
