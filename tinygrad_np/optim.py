"""Optimisers, learning-rate schedules, gradient clipping.

An optimiser's rule is a pure function of plain arithmetic, ``rule(i, parameter, gradient, *state)
-> (change, *state)``. The base class subtracts the change in place; nothing else writes to a
parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from . import tracing
from .arrays import Traced
from .changes import writing
from .tensor import Array, Tensor, plain

Schedule = Callable[[int], float]
"""The learning rate of an update; updates are counted from 0."""


class Optimizer:
    """Updates parameters from their gradients. An optimiser consists of its ``rule`` and settings.

    ``parameters`` are leaf Tensors that require grad, for example ``module.parameters()``; ``lr``
    is a number or a schedule. ``step`` skips parameters whose ``grad`` is None, and frozen ones
    (whose ``requires_grad`` was switched off); the update does not count for them.

    ``state`` holds a list of arrays for each parameter, ``count`` the number of updates, and
    ``missed`` how many of these each parameter has missed.

    >>> import numpy as np, tinygrad_np as tg
    >>> class SignSGD(tg.optim.Optimizer):
    ...     def rule(self, i, parameter, gradient):
    ...         return (self.learning_rate * np.sign(gradient),)
    >>> w = tg.Tensor([1.0, -2.0], requires_grad=True)
    >>> opt = SignSGD([w], lr=0.1)
    >>> (w * w).sum().backward(); opt.step()
    >>> w.tolist()
    [0.9, -1.9]
    """

    slots: tuple[str, ...] = ()
    """Names of the state arrays of each parameter."""
    read_before_each_run = ("lr",)
    """Attributes that ``compile`` reads at each call, so that a change does not trace again."""

    def __init__(self, parameters: Iterable[Tensor], lr: float | Schedule) -> None:
        self.parameters = _listed(parameters, type(self).__name__)
        if not self.parameters:
            raise ValueError("an optimiser needs at least one parameter, got none")
        for parameter in self.parameters:
            if not (parameter.requires_grad or parameter.is_frozen) or not parameter.is_leaf:
                raise TypeError(
                    f"parameters must be leaf Tensors that require grad, got {parameter!r}"
                )
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter was given twice: it would be updated twice a step")
        if not callable(lr):
            _check(lr=lr)
        self.lr = lr
        self.count = np.zeros(1, np.int64)
        self.missed = np.zeros(len(self.parameters), np.int64)
        self.state = [
            [np.zeros(p.shape, _precision(p)) for _ in self.slots] for p in self.parameters
        ]

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return int(self.count.item())

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next update."""
        return tracing.host(_rate, self, self.count)

    def number(self, i: int) -> Any:
        """The number of parameter ``i``'s next update; its first is 1."""
        return tracing.host(_number, self.count, self.missed, i)

    def rule(self, i: int, parameter: Any, gradient: Any, *state: Any) -> tuple[Any, ...]:
        """The change to subtract from parameter ``i``, and its new state."""
        raise NotImplementedError

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises RuntimeError if no parameter has one.
        """
        idle: tuple[int, ...] = ()
        now = writing()
        for i, parameter in enumerate(self.parameters):
            node = parameter.node  # None if frozen; the properties would cost 0.1 µs more
            gradient = None if node is None else node.grad
            if gradient is None:
                idle += (i,)
                continue
            data = plain(parameter)
            if self.slots:
                state = self.state[i]
                change, *after = self.rule(i, data, gradient, *state)
                self._keep(i, state, after)
            else:
                (change,) = self.rule(i, data, gradient)
            np.subtract(data, change, data)
            parameter.node.written = now  # type: ignore[union-attr]
            del change  # so that the next one gets its memory, which is in the cache
        if len(idle) == len(self.parameters):
            if all(parameter.is_frozen for parameter in self.parameters):
                raise RuntimeError("all parameters are frozen: their requires_grad is switched off")
            raise RuntimeError("no parameter has a gradient: call loss.backward() before step()")
        np.add(self.count, _ONE, self.count)
        if idle:
            np.add(self.missed, np.isin(np.arange(len(self.missed)), idle), self.missed)

    def _keep(self, i: int, old: list[Any], new: list[Any]) -> None:
        """Keep the new state of parameter ``i``. A traced one stays in place for replays."""
        if any(isinstance(array, Traced) for array in new):
            for target, array in zip(old, new, strict=True):
                np.copyto(target, array)
        else:
            self.state[i] = new

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The number of updates and copies of all state arrays: enough to resume later."""
        arrays = {
            f"{i}.{slot}": np.array(array)
            for i, state in enumerate(self.state)
            for slot, array in zip(self.slots, state, strict=True)
        }
        if self.missed.any():
            arrays["missed"] = np.array(self.missed)
        return {"updates": self.updates, "state": arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a ``state_dict``; ValueError if names or shapes differ."""
        if not {"updates", "state"} <= {*state}:
            raise ValueError(
                "load_state_dict takes what an optimiser's state_dict() returned: a dict with "
                f"'updates' and 'state', got one with {sorted(map(str, state))}"
            )
        given, updates = dict(state["state"]), int(state["updates"])
        missed = np.array(given.pop("missed", np.zeros_like(self.missed)), np.int64)
        if missed.shape != self.missed.shape or ((missed < 0) | (missed > updates)).any():
            raise ValueError(
                f"state missed: expected a count of at most {updates} for each of the "
                f"{len(self.missed)} parameters, got {missed}"
            )
        for i, parameter in enumerate(self.parameters):
            for name in (f"{i}.{slot}" for slot in self.slots):
                shape = getattr(given.get(name), "shape", None)
                if shape != parameter.shape:
                    raise ValueError(f"state {name}: expected shape {parameter.shape}, got {shape}")
        rows = [
            [np.array(given.pop(f"{i}.{slot}"), _precision(p)) for slot in self.slots]
            for i, p in enumerate(self.parameters)
        ]
        if given:
            raise ValueError(f"state that this optimiser does not have: {', '.join(given)}")
        self.state[:] = rows  # the same list, because replays use it
        self.count, self.missed = np.array([updates]), missed


_ONE = np.ones(1, np.int64)


def _rate(optimizer: Optimizer, count: Array) -> float:
    """The learning rate after ``count`` updates."""
    made = int(count.item())
    rate = float(optimizer.lr(made) if callable(optimizer.lr) else optimizer.lr)
    if not rate >= 0:
        raise ValueError(f"the learning rate of update {made} is {rate}: it must not be negative")
    return rate


def _number(count: Array, missed: Array, i: int) -> int:
    return int(1 + count.item() - missed.item(i))


def _precision(parameter: Tensor) -> np.dtype[Any]:
    """The dtype of a parameter's state: float32 for float16, where squares and eps underflow."""
    return np.dtype(np.float32) if parameter.dtype.char == "e" else parameter.dtype


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983) and weight decay.

    Let v be the velocity, and g the gradient plus ``weight_decay`` w. Then v ← momentum v + g, and
    w ← w - lr v, or with ``nesterov`` w ← w - lr (g + momentum v). These are PyTorch's formulas.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(1.0, requires_grad=True)
    >>> opt = tg.optim.SGD([w], lr=0.1)
    >>> (w * w).backward(); opt.step()
    >>> w.item()
    0.8
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        _check(momentum=momentum, weight_decay=weight_decay)
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum above 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()
        super().__init__(parameters, lr)

    def rule(self, i: int, parameter: Any, gradient: Any, *state: Any) -> tuple[Any, ...]:
        """See the class."""
        rate = self.learning_rate  # first, because a schedule may raise: then nothing has changed
        if self.weight_decay:
            gradient = gradient + float(self.weight_decay) * parameter
        if not self.momentum:
            return (rate * gradient,)
        momentum = float(self.momentum)  # NumPy's float64 would make float32 float64
        velocity = momentum * state[0] + gradient
        return rate * (gradient + momentum * velocity if self.nesterov else velocity), velocity


class Adam(Optimizer):
    """Adam (Kingma, Ba 2015): steps scaled by running moments of the gradient.

    m ← β₁ m + (1-β₁) g and v ← β₂ v + (1-β₂) g²; both are corrected for their start at 0. Then
    w ← w - lr m̂ / (√v̂ + eps). ``weight_decay`` w is added to g; compare ``AdamW``.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(1.0, requires_grad=True)
    >>> opt = tg.optim.Adam([w], lr=0.1)
    >>> (w * w).backward(); opt.step()
    >>> round(w.item(), 6)
    0.9
    """

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _check(eps=eps, weight_decay=weight_decay)
        if np.shape(betas) != (2,) or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas}: two numbers that must lie in [0, 1)")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        super().__init__(parameters, lr)

    def rule(self, i: int, parameter: Any, gradient: Any, *state: Any) -> tuple[Any, ...]:
        """See the class."""
        if self.weight_decay:
            gradient = gradient + float(self.weight_decay) * parameter
        return self.adapted(i, gradient, *state)

    def adapted(self, i: int, gradient: Any, mean: Any, square: Any) -> tuple[Any, ...]:
        """Adam's change, without weight decay."""
        first, second = map(float, self.betas)
        rate, number = self.learning_rate, self.number(i)
        scale = tracing.host(_corrected, rate, first, number)
        correction = tracing.host(_correction, second, number)
        if gradient.dtype.char == "e":  # see _precision
            gradient = gradient.astype(np.float32)
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * (gradient * gradient)
        return scale * mean / (np.sqrt(square) / correction + float(self.eps)), mean, square


def _corrected(rate: float, beta: float, number: int) -> float:
    return rate / (1 - beta**number)


def _correction(beta: float, number: int) -> float:
    return math.sqrt(1 - beta**number)


class AdamW(Adam):
    """Adam with decoupled weight decay: w also shrinks by lr decay w. (Loshchilov, Hutter 2019.)

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor(1.0, requires_grad=True)
    >>> opt = tg.optim.AdamW([w], lr=0.1)
    >>> (w * w).backward(); opt.step()
    >>> round(w.item(), 6)
    0.899
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def rule(self, i: int, parameter: Any, gradient: Any, *state: Any) -> tuple[Any, ...]:
        """See the class."""
        decay = self.learning_rate * float(self.weight_decay)
        change, *state_after = self.adapted(i, gradient, *state)
        return change + decay * parameter, *state_after


# Learning-rate schedules: functions of the update's number. They can be pickled


def constant(lr: float) -> Schedule:
    """A constant rate.

    >>> import tinygrad_np as tg
    >>> tg.optim.constant(0.1)(1000)
    0.1
    """
    _check(lr=lr)
    return partial(_constant, lr)


def _constant(lr: float, update: int) -> float:
    return lr


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr``, multiplied by ``factor`` after every ``every`` updates.

    >>> import tinygrad_np as tg
    >>> [tg.optim.step_decay(1.0, 2, 0.5)(i) for i in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _check(lr=lr, factor=factor)
    _check(1, every=every)
    return partial(_step_decay, lr, every, factor)


def _step_decay(lr: float, every: int, factor: float, update: int) -> float:
    return lr * factor ** (update // every)


def cosine(lr: float, updates: int, final: float = 0.0) -> Schedule:
    """From ``lr`` down to ``final`` along half a cosine (Loshchilov, Hutter 2017).

    >>> import tinygrad_np as tg
    >>> rate = tg.optim.cosine(0.1, updates=100)
    >>> rate(0), round(rate(50), 3), rate(100)
    (0.1, 0.05, 0.0)
    """
    _check(lr=lr, final=final)
    _check(1, updates=updates)
    return partial(_cosine, lr, updates, final)


def _cosine(lr: float, updates: int, final: float, update: int) -> float:
    return _half_cosine(lr, final, update / updates)


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def one_cycle(
    lr: float, updates: int, warmup: float = 0.3, start: float = 1 / 25, final: float = 1e-4
) -> Schedule:
    """Up to ``lr`` during the first ``warmup`` of the updates, then down, along half cosines.

    ``warmup`` is a fraction. The rate starts at ``lr * start`` and ends at ``lr * start * final``.
    (Smith, Topin 2018.)

    >>> import tinygrad_np as tg
    >>> rate = tg.optim.one_cycle(0.1, updates=100)
    >>> [round(rate(update), 4) for update in (0, 30, 100)]
    [0.004, 0.0999, 0.0]
    """
    _check(lr=lr, start=start, final=final)
    _check(1, updates=updates)
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup={warmup} is a part of the updates: it must lie in [0, 1]")
    return partial(_one_cycle, lr, updates, warmup, start, final)


def _one_cycle(
    lr: float, updates: int, warmup: float, start: float, final: float, update: int
) -> float:
    up = max(1.0, warmup * updates - 1)
    down = max(1.0, updates - 1 - up)
    if update <= up:
        return _half_cosine(lr * start, lr, update / up)
    return _half_cosine(lr, lr * start * final, (update - up) / down)


# Gradient clipping


def _gradients(parameters: Iterable[Tensor], limit: float, what: str) -> list[tuple[Tensor, Array]]:
    """The gradients to clip, without those of frozen parameters, which no optimiser uses."""
    if not limit >= 0:
        raise ValueError(f"gradients cannot be clipped to {limit}: it must not be negative")
    every = [parameters] if isinstance(parameters, Tensor) else _listed(parameters, what)
    return [(p, p.grad) for p in every if p.grad is not None and p.requires_grad]


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients down together so that their joint 2-norm is at most ``max_norm``.

    Returns the norm before clipping; raises ValueError if that is nan or infinite. (Pascanu et al.
    2013.)

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.clip_grad_norm([w], 5.0), w.grad.tolist()
    (10.0, [3.0, 4.0])
    """
    found = _gradients(parameters, max_norm, "clip_grad_norm")
    total = math.sqrt(math.fsum(float(np.sum(np.square(g, dtype=np.float64))) for _, g in found))
    if not math.isfinite(total):
        raise ValueError(f"the gradients' norm is {total}: they cannot be clipped")
    if total > max_norm:
        for parameter, gradient in found:
            parameter.grad = gradient * (max_norm / total)
    return total


def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> None:
    """Limit each element of each gradient to ±``max_value``.

    >>> import tinygrad_np as tg
    >>> w = tg.Tensor([3.0, 0.1], requires_grad=True)
    >>> (w * w).sum().backward(); tg.optim.clip_grad_value([w], 1.0)
    >>> w.grad.tolist()
    [1.0, 0.2]
    """
    for parameter, gradient in _gradients(parameters, max_value, "clip_grad_value"):
        parameter.grad = np.clip(gradient, -max_value, max_value)


# Arguments


def _listed(parameters: Any, what: str) -> list[Tensor]:
    """The parameters as a list; TypeError, with advice, for anything but an iterable of Tensors."""
    write = f"{what}(model.parameters(), ...)"
    if hasattr(parameters, "named_parameters"):
        raise TypeError(f"a module is not its parameters: write {write}")
    if isinstance(parameters, Tensor):
        raise TypeError(f"one Tensor was given, not a list of them: write {what}([W], ...)")
    if isinstance(parameters, Mapping):
        raise TypeError(f"a dict was given: write {what}(list(state.values()), ...)")
    if not isinstance(parameters, Iterable) or isinstance(parameters, str | np.ndarray):
        raise TypeError(f"{parameters!r} is not a list of Tensors: write {write}")
    found = list(parameters)
    for parameter in found:
        if isinstance(parameter, tuple):
            raise TypeError(
                f"pairs were given, as named_parameters() gives them: write {write} without names"
            )
        if isinstance(parameter, Mapping):
            raise TypeError("groups of parameters are not supported: make an optimiser for each")
        if not isinstance(parameter, Tensor):
            raise TypeError(
                "parameters must be leaf Tensors that require grad, got "
                f"{type(parameter).__name__}: write {write}"
            )
    return found


def _check(least: float = 0.0, **settings: Any) -> None:
    """ValueError for a setting that is below ``least``, nan or infinite."""
    for name, value in settings.items():
        if isinstance(value, str | None) or np.ndim(value):
            raise TypeError(f"{name}={value!r} must be a number")
        if not least <= value < math.inf:
            low = "negative" if not least else f"below {least:g}"
            raise ValueError(f"{name}={value} must not be {low}, infinite or nan")
