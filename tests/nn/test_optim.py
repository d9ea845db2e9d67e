"""Optimisers against their formulas written out, schedules, clipping, state."""

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.registry import assert_close
from tinygrad_np import optim

STEPS = 7


def trajectory(make: Callable[[Any], Any], steps: int = STEPS) -> list[Any]:
    """Where w goes from (1, -2, 3) on the gradients of Σ cos(w + k): they change sign and size."""
    w = tg.Tensor([1.0, -2.0, 3.0], requires_grad=True)
    optimizer = make([w])
    path = []
    for k in range(steps):
        optimizer.zero_grad()
        tg.cos(w + float(k)).sum().backward()
        optimizer.step()
        path.append(w.data.copy())
    return path


def slope(w: Any, k: int) -> Any:
    return -np.sin(w + k)


START = np.array([1.0, -2.0, 3.0])


def test_sgd() -> None:
    w = START.copy()
    for k, found in enumerate(trajectory(lambda p: optim.SGD(p, lr=0.1))):
        w = w - 0.1 * slope(w, k)
        assert_close(found, w, 1e-14)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_sgd_with_momentum_and_weight_decay(nesterov: bool, decay: float) -> None:
    w, v = START.copy(), np.zeros(3)
    path = trajectory(lambda p: optim.SGD(p, 0.1, 0.9, nesterov, decay))
    for k, found in enumerate(path):
        g = slope(w, k) + decay * w
        v = 0.9 * v + g
        w = w - 0.1 * (g + 0.9 * v if nesterov else v)
        assert_close(found, w, 1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_and_adamw(decoupled: bool, decay: float) -> None:
    kind = optim.AdamW if decoupled else optim.Adam
    path = trajectory(lambda p: kind(p, 0.02, (0.8, 0.95), 1e-6, decay))
    w, m, v = START.copy(), np.zeros(3), np.zeros(3)
    for k, found in enumerate(path):
        g = slope(w, k) + (0 if decoupled else decay * w)
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        m_hat, v_hat = m / (1 - 0.8 ** (k + 1)), v / (1 - 0.95 ** (k + 1))
        if decoupled:
            w = w - 0.02 * decay * w
        w = w - 0.02 * m_hat / (np.sqrt(v_hat) + 1e-6)
        assert_close(found, w, 1e-12)


def test_by_hand() -> None:
    """Constants worked out on paper, for f(w) = w²/2 from w = 1: the gradient is w."""

    def run(make: Callable[[Any], Any], steps: int) -> float:
        w = tg.Tensor(1.0, requires_grad=True)
        optimizer = make([w])
        for _ in range(steps):
            w.grad = w.data.copy()
            optimizer.step()
        return float(w.item())

    assert run(lambda p: optim.SGD(p, 0.5), 3) == 0.125
    # v: 1, then 0.5 + 0.5 = 1; w: 0.5, then 0.
    assert run(lambda p: optim.SGD(p, 0.5, momentum=0.5), 2) == 0.0
    # v = 1: w = 1 - 0.5 (1 + 0.5) = 0.25; v = 0.75: w = 0.25 - 0.5 (0.25 + 0.375) = -0.0625.
    assert run(lambda p: optim.SGD(p, 0.5, 0.5, nesterov=True), 2) == -0.0625
    # g = 1 + 0.2: w = 1 - 0.6.
    assert run(lambda p: optim.SGD(p, 0.5, weight_decay=0.2), 1) == pytest.approx(0.4)
    # Adam's first step is lr · sign(g), whatever the betas are.
    assert run(lambda p: optim.Adam(p, 0.25, eps=0.0), 1) == pytest.approx(0.75)
    assert run(lambda p: optim.AdamW(p, 0.25, eps=0.0, weight_decay=0.5), 1) == pytest.approx(0.625)


def test_updates_are_in_place_and_leave_the_gradient_alone() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    array = w.data
    w.grad = np.array([1.0, 1.0])
    optim.Adam([w], 0.1, weight_decay=0.5).step()
    assert w.data is array
    assert_close(w.grad, [1, 1])


def test_float32_stays_float32() -> None:
    for make in (lambda p: optim.SGD(p, 0.1, 0.9), optim.Adam, optim.AdamW):
        w = tg.Tensor([1.0], requires_grad=True, dtype=np.float32)
        optimizer: optim.Optimizer = make([w])
        for _ in range(3):
            w.grad = np.array([1.0])
            optimizer.step()
        assert w.dtype == np.float32
        assert all(a.dtype == np.float32 for state in optimizer.state for a in state)


def test_parameters_without_gradient_are_left_alone() -> None:
    a, b = tg.Tensor([1.0], requires_grad=True), tg.Tensor([1.0], requires_grad=True)
    optimizer = optim.Adam([a, b], 0.1)
    a.grad = np.array([1.0])
    optimizer.step()
    assert a.item() != 1
    assert b.item() == 1
    optimizer.zero_grad()
    assert a.grad is None
    with pytest.raises(RuntimeError, match=r"no parameter has a gradient.*backward"):
        optimizer.step()


@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW, lambda p: optim.SGD(p, 0.1, 0.9)])
@pytest.mark.parametrize("compiled", [False, True])
def test_updates_without_a_gradient_do_not_count(make: Any, compiled: bool) -> None:
    """Each parameter goes as with an optimiser of its own, also after a saved state."""

    def leaves() -> list[tg.Tensor]:
        return [tg.Tensor(START, requires_grad=True) for _ in range(3)]

    together, apart = leaves(), leaves()
    optimizer, own = make(together), [make([w]) for w in apart]

    def step(used: tuple[int, ...]) -> tg.Tensor:
        loss = sum((tg.cos(together[i]).sum() for i in used), tg.Tensor(0.0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = tg.compile(step, exact=True) if compiled else step
    for k in range(20):
        if k == 11:
            state, optimizer = optimizer.state_dict(), make(together)
            optimizer.load_state_dict(state)
        used = tuple(i for i in range(3) if k % (i + 1) == 0)
        run(used)
        for i in used:
            tg.cos(apart[i]).sum().backward()
            own[i].step()
            own[i].zero_grad()
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize(
    "make",
    [
        lambda p, of: optim.SGD(p, of(0.1), of(0.9), weight_decay=of(0.1)),
        lambda p, of: optim.Adam(p, of(0.1), (of(0.9), of(0.99)), of(1e-3), of(0.1)),
        lambda p, of: optim.AdamW(p, of(0.1), (of(0.9), of(0.99)), of(1e-3), of(0.1)),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_settings_may_be_numpy_numbers(make: Any, compiled: bool) -> None:
    ends = []
    for of in (float, np.float64):
        w = tg.Tensor(START, requires_grad=True, dtype=np.float32)
        optimizer = make([w], of)

        def step(w: Any = w, optimizer: Any = optimizer) -> tg.Tensor:
            optimizer.zero_grad()
            loss = tg.cos(w).sum()
            loss.backward()
            optimizer.step()
            return loss

        run = tg.compile(step, exact=True) if compiled else step
        for _ in range(STEPS):
            run()
        assert all(a.dtype == np.float32 for state in optimizer.state for a in state)
        ends.append(w.data)
    np.testing.assert_array_equal(ends[0], ends[1])


# State


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, optim.step_decay(0.1, 3), momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, optim.cosine(0.1, 10)),
        lambda p: optim.AdamW(p, 0.1),
    ],
)
def test_training_resumes_from_a_saved_state(make: Callable[[Any], Any]) -> None:
    def steps(w: Any, optimizer: Any, start: int, stop: int) -> None:
        for k in range(start, stop):
            w.grad = slope(w.data, k)
            optimizer.step()

    w = tg.Tensor(START, requires_grad=True)
    optimizer = make([w])
    steps(w, optimizer, 0, 4)
    state, half = optimizer.state_dict(), w.data.copy()
    steps(w, optimizer, 4, 8)
    again = tg.Tensor(half, requires_grad=True)
    other = make([again])
    other.load_state_dict(state)
    assert other.updates == 4
    steps(again, other, 4, 8)
    assert np.array_equal(again.data, w.data)
    third = make([tg.Tensor(half, requires_grad=True)])
    third.load_state_dict(state)  # the state was not used up, nor written to
    assert third.updates == 4


def test_a_state_that_does_not_fit_is_refused() -> None:
    w = tg.Tensor(START, requires_grad=True)
    adam = optim.Adam([w])
    state = adam.state_dict()
    with pytest.raises(ValueError, match=r"does not have: 0\.mean, 0\.square"):
        optim.SGD([w], 0.1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"0\.velocity: expected shape \(3,\), got None"):
        optim.SGD([w], 0.1, momentum=0.9).load_state_dict(state)
    small = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"0\.mean: expected shape \(1,\), got \(3,\)"):
        optim.Adam([small]).load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda w: optim.SGD([], 0.1), ValueError, "at least one parameter"),
        (lambda w: optim.SGD([w, w], 0.1), ValueError, "given twice"),
        (lambda w: optim.SGD([w], -0.1), ValueError, r"lr=-0\.1 must not be negative"),
        (lambda w: optim.SGD([w * 2], 0.1), TypeError, "must be leaf Tensors that require grad"),
        (lambda w: optim.SGD([w.detach()], 0.1), TypeError, "must be leaf Tensors"),
        (lambda w: optim.SGD([np.ones(3)], 0.1), TypeError, "must be leaf Tensors"),  # type: ignore[list-item]
        (lambda w: optim.SGD([w], 0.1, nesterov=True), ValueError, "needs a momentum"),
        (lambda w: optim.Adam([w], betas=(0.9, 1.0)), ValueError, r"must lie in \[0, 1\)"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(tg.Tensor(START, requires_grad=True))


def test_settings_may_be_zero() -> None:
    w = tg.Tensor(START, requires_grad=True)
    w.grad = np.ones_like(w.data)
    for opt in (optim.SGD([w], 0.0), optim.Adam([w], 0.0, betas=(0.0, 0.0))):
        opt.step()
        assert_close(w.data, START)
    assert optim.clip_grad_norm([w], 0.0) > 0
    assert (w.grad == 0).all()


# Schedules


def test_constant_and_step_decay() -> None:
    assert [optim.constant(0.3)(i) for i in (0, 1, 100)] == [0.3] * 3
    assert [optim.step_decay(1.0, 3, 0.5)(i) for i in (0, 2, 3, 5, 6)] == [1, 1, 0.5, 0.5, 0.25]


def test_cosine() -> None:
    rate = optim.cosine(1.0, 100, final=0.2)
    assert rate(0) == 1
    assert rate(50) == pytest.approx(0.6)
    assert rate(25) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert rate(100) == rate(1000) == pytest.approx(0.2)


def test_one_cycle() -> None:
    rate = optim.one_cycle(1.0, 100, warmup=0.3)
    rates = [rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[29] == pytest.approx(1.0)  # the last update of the warm-up
    assert rates[99] == pytest.approx(1 / 25 * 1e-4)
    assert rate(1000) == pytest.approx(1 / 25 * 1e-4)
    assert all(a < b for a, b in itertools.pairwise(rates[:30]))
    assert all(a > b for a, b in itertools.pairwise(rates[29:]))


def test_a_schedule_is_asked_once_an_update() -> None:
    w = tg.Tensor(10.0, requires_grad=True)
    optimizer = optim.SGD([w], optim.step_decay(1.0, 2, 0.1))
    path = []
    for _ in range(4):
        w.grad = np.array(1.0)
        path.append(optimizer.learning_rate)
        optimizer.step()
    assert path == pytest.approx([1, 1, 0.1, 0.1])
    assert w.item() == pytest.approx(10 - 2.2)


# Clipping


def clipped() -> list[tg.Tensor]:
    a, b, c = (tg.Tensor(np.zeros(n), requires_grad=True) for n in (2, 1, 1))
    a.grad, b.grad = np.array([3.0, 0.0]), np.array([-4.0])
    return [a, b, c]


def test_clip_grad_norm() -> None:
    parameters = clipped()
    assert optim.clip_grad_norm(parameters, 1.0) == pytest.approx(5)
    assert_close(parameters[0].grad, [0.6, 0])
    assert_close(parameters[1].grad, [-0.8])
    assert parameters[2].grad is None
    assert optim.clip_grad_norm(parameters, 10.0) == pytest.approx(1)
    assert_close(parameters[0].grad, [0.6, 0])


def test_clip_grad_value() -> None:
    parameters = clipped()
    optim.clip_grad_value(parameters, 2.0)
    assert_close(parameters[0].grad, [2, 0])
    assert_close(parameters[1].grad, [-2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused(bad: float) -> None:
    parameters = clipped()
    parameters[0].grad = np.array([bad, 0.0])
    with pytest.raises(ValueError, match="cannot be clipped"):
        optim.clip_grad_norm(parameters, 1.0)


def test_clipping_keeps_float32() -> None:
    w = tg.Tensor(np.zeros(2, np.float32), requires_grad=True)
    w.grad = np.array([30.0, 40.0])
    optim.clip_grad_norm([w], 1.0)
    assert w.grad is not None
    assert w.grad.dtype == np.float32
    assert_close(w.grad, [0.6, 0.8], 1e-6)


def test_a_single_tensor_is_clipped_as_a_whole() -> None:
    w = tg.Tensor(np.zeros(2), requires_grad=True)
    w.grad = np.array([3.0, 4.0])
    assert optim.clip_grad_norm(w, 1.0) == 5
    assert_close(w.grad, [0.6, 0.8])
    optim.clip_grad_value(w, 0.7)
    assert_close(w.grad, [0.6, 0.7])


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
@pytest.mark.parametrize("limit", [-1.0, np.nan])
def test_a_limit_that_would_turn_gradients_round_is_refused(clip: Any, limit: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        clip(clipped(), limit)


# What optimisers are given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda net: net, r"a module is not its parameters: write SGD\(model\.parameters\(\)"),
        (lambda net: net[0].weight, r"write SGD\(\[W\]"),
        (lambda net: net.named_parameters(), r"pairs were given.*write SGD\(model\.parameters\(\)"),
        (lambda net: dict(net.named_parameters()), r"a dict.*\.values\(\)"),
        (lambda net: [{"params": net.parameters()}], "groups of parameters"),
        (lambda net: net.state_dict().values(), "got ndarray: write"),
        (lambda net: 0.1, "0.1 is not a list of Tensors"),
        (lambda net: None, "None is not a list of Tensors"),
    ],
)
def test_optimisers_refuse_anything_but_a_list_of_tensors(given: Any, words: str) -> None:
    net = tg.nn.Sequential(tg.nn.Linear(2, 2))
    with pytest.raises(TypeError, match=words):
        optim.SGD(given(net), 0.1)


def test_clipping_refuses_anything_but_a_list_of_tensors() -> None:
    with pytest.raises(TypeError, match=r"write clip_grad_norm\(model\.parameters\(\)"):
        optim.clip_grad_norm(tg.nn.Linear(2, 2), 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda w, s: optim.SGD(w, s),
        lambda w, s: optim.SGD(w, 0.1, momentum=s),
        lambda w, s: optim.SGD(w, 0.1, weight_decay=s),
        lambda w, s: optim.Adam(w, betas=(0.9, s)),
        lambda w, s: optim.Adam(w, betas=(s, 0.9)),
        lambda w, s: optim.Adam(w, eps=s),
        lambda w, s: optim.Adam(w, weight_decay=s),
        lambda w, s: optim.AdamW(w, eps=s),
        lambda w, s: optim.AdamW(w, weight_decay=s),
        lambda w, s: optim.constant(s),
        lambda w, s: optim.step_decay(s, 2),
        lambda w, s: optim.step_decay(0.1, s),
        lambda w, s: optim.step_decay(0.1, 2, s),
        lambda w, s: optim.cosine(s, 10),
        lambda w, s: optim.cosine(0.1, s),
        lambda w, s: optim.cosine(0.1, 10, s),
        lambda w, s: optim.one_cycle(s, 10),
        lambda w, s: optim.one_cycle(0.1, s),
        lambda w, s: optim.one_cycle(0.1, 10, s),
        lambda w, s: optim.one_cycle(0.1, 10, start=s),
        lambda w, s: optim.one_cycle(0.1, 10, final=s),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, bad: float) -> None:
    with pytest.raises(ValueError, match=r"must (not|lie)"):
        make([tg.Tensor(START, requires_grad=True)], bad)


def test_schedules_over_no_updates_are_refused() -> None:
    for make in (optim.cosine, optim.step_decay, optim.one_cycle):
        with pytest.raises(ValueError, match="=0 must not be below 1"):
            make(0.1, 0)
    with pytest.raises(TypeError, match="lr='0.1' must be a number"):
        optim.SGD([tg.Tensor(1.0, True)], "0.1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two numbers"):
        optim.Adam([tg.Tensor(1.0, True)], betas=0.9)  # type: ignore[arg-type]


def test_a_rate_below_zero_is_refused_when_it_comes() -> None:
    w = tg.Tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([w], lambda update: 1.0 - update)
    for _ in range(2):
        w.grad = np.array(1.0)
        optimizer.step()
    with pytest.raises(ValueError, match=r"the learning rate of update 2 is -1\.0"):
        optimizer.step()
    assert w.item() == 0


SCHEDULES = [
    optim.constant(0.1), optim.step_decay(0.1, 2), optim.cosine(0.1, 10), optim.one_cycle(0.1, 10),
]  # fmt: skip


@pytest.mark.parametrize("lr", [0.1, *SCHEDULES])
@pytest.mark.parametrize("again", [lambda o: pickle.loads(pickle.dumps(o)), copy.deepcopy])
def test_optimisers_can_be_pickled_and_copied(lr: Any, again: Any) -> None:
    w = tg.Tensor(START, requires_grad=True)
    first = optim.Adam([w], lr)
    w.grad = slope(w.data, 0)
    first.step()
    second = again(first)
    assert second.updates == 1
    for optimizer in (first, second):
        (parameter,) = optimizer.parameters
        parameter.grad = slope(parameter.data, 1)
        optimizer.step()
    np.testing.assert_array_equal(first.parameters[0].data, second.parameters[0].data)


# Frozen parameters


def test_frozen_parameters_are_left_alone_until_they_are_trained_again() -> None:
    a, b = tg.Tensor([1.0], requires_grad=True), tg.Tensor([1.0], requires_grad=True)
    optimizer = optim.Adam([a, b], 0.1)
    a.grad, b.grad = np.array([1.0]), np.array([1.0])
    b.requires_grad = False
    assert optim.clip_grad_norm([a, b], 10.0) == 1  # b's gradient is kept, but not counted
    optimizer.step()
    assert a.item() < 1
    assert b.item() == 1
    b.requires_grad = True
    optimizer.step()
    assert b.item() == pytest.approx(0.9)  # Adam's first step of b
    optimizer.zero_grad()
    for w in (a, b):
        w.requires_grad = False
    with pytest.raises(RuntimeError, match="all parameters are frozen"):
        optimizer.step()
    optim.SGD([a, b], 0.1)  # may be trained later


def test_counts_are_arrays() -> None:
    a, b = tg.Tensor([1.0], requires_grad=True), tg.Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([a, b], 0.1)
    for _ in range(3):
        a.grad = np.array([1.0])
        optimizer.step()
    assert optimizer.count.dtype == optimizer.missed.dtype == np.int64
    assert type(optimizer.updates) is int
    assert (optimizer.updates, [*optimizer.missed]) == (3, [0, 3])
    state = optimizer.state_dict()
    state["state"]["missed"] = np.array([0, 4])
    with pytest.raises(ValueError, match="state missed: expected a count of at most 3"):
        optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"what an optimiser's state_dict\(\) returned"):
        optimizer.load_state_dict({})
