"""A step reads numbers and arrays outside its arguments in every way Python knows."""

import collections
import contextvars
import dataclasses
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, parameter, same
from tinygrad_np import nn, optim

RATE: Any = 1.0
MODULE = types.ModuleType("settings")
MODULE.rate = 1.0  # type: ignore[attr-defined]
MODULE.inner = types.SimpleNamespace(rate=1.0)  # type: ignore[attr-defined]


def set_rate(value: Any) -> None:
    globals()["RATE"] = value


def scaled(x: Any) -> Any:
    return x * RATE


@dataclasses.dataclass
class Settings:
    rate: float = 1.0
    rates: list[float] = dataclasses.field(default_factory=lambda: [1.0])


class Slotted:
    __slots__ = ("rate",)
    rate: float


class Scaler:
    shared = 1.0

    def __init__(self) -> None:
        self.rate = 1.0

    @property
    def half(self) -> float:
        return self.rate / 2

    @staticmethod
    def of_global(x: Any) -> Any:
        return scaled(x)

    def method(self, x: Any) -> Any:
        return self.helper(x)

    def helper(self, x: Any) -> Any:
        return x * self.rate * RATE

    def __call__(self, x: Any) -> Any:
        return x * self.rate

    def __getitem__(self, i: int) -> float:
        return float(RATE)


class Proxy:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)


class Meta(type):
    @property
    def rate(cls) -> Any:
        return cls.shared  # type: ignore[attr-defined]


class Chosen:
    def __init__(self, others: list[Any]) -> None:
        self.others = others

    def among(self, x: Any) -> Any:
        return sum([x * self.rate for self in self.others])


class Described:
    rate = 1.0

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __get__(self, owner: Any, kind: Any) -> Any:
        return self.inner


class Heir(Scaler):
    pass


class Made(metaclass=Meta):
    shared = 1.0
    described: Any

    def twice(self, x: Any, times: float) -> Any:
        return x * times * RATE

    of_partial = functools.partialmethod(twice, 2.0)


class Items(list[float]):
    rate = 1.0


class Word(dict[str, float]):
    def __getattr__(self, name: str) -> float:
        return self[name]


class Net(nn.Module):
    shared = 1.0

    def __init__(self) -> None:
        self.rates, self.settings = [[1.0]], Settings()
        self.layers = {"a": [nn.Linear(2, 2, dtype=np.float64, rng=0)]}

    def forward(self, x: Any) -> Any:
        for layer in self.layers["a"]:
            x = layer(x)
        return x * self.rates[0][0] * self.settings.rate * self.shared


class Custom(optim.Optimizer):
    def rule(self, i: int, parameter: Any, gradient: Any, *state: Any) -> Any:
        return (self.helper(gradient),)

    def helper(self, gradient: Any) -> Any:
        return RATE * gradient


def attribute(holder: Any, name: str = "rate") -> Callable[[Any], None]:
    return functools.partial(setattr, holder, name)


def reads() -> dict[str, tuple[Callable[..., Any], Callable[[Any], None]]]:
    """By name: a function of x, and what sets the number that it reads."""
    found: dict[str, Any] = {}
    plain, nested = types.SimpleNamespace(rate=1.0), types.SimpleNamespace(inner=Settings())
    slotted, scaler, net, methods = Slotted(), Scaler(), Net(), Scaler()
    slotted.rate = 1.0
    rates, table, inner, pair = [[1.0]], {"a": {"b": 1.0}}, {"a": 1.0}, ([1.0],)
    inside = tg.compile(scaled)
    some, queue = {1.0}, collections.deque([1.0])
    arrays, large, view = {"a": [np.ones(3)]}, np.ones(5000), np.ones((50_000, 2))
    found["attribute"] = lambda x: x * plain.rate, attribute(plain)
    found["getattr"] = lambda x: x * getattr(plain, "rate"), attribute(plain)  # noqa: B009
    found["vars"] = lambda x: x * vars(plain)["rate"], attribute(plain)
    found["attribute of an attribute"] = lambda x: x * nested.inner.rate, attribute(nested.inner)
    found["slot"] = lambda x: x * slotted.rate, attribute(slotted)
    found["property"] = lambda x: x * scaler.half, attribute(scaler)
    found["class attribute"] = lambda x: x * Scaler.shared, attribute(Scaler, "shared")
    found["class attribute by object"] = lambda x: x * scaler.shared, attribute(Scaler, "shared")
    found["module"] = lambda x: x * MODULE.rate, attribute(MODULE)
    found["in a module"] = lambda x: x * MODULE.inner.rate, attribute(MODULE.inner)
    found["callable object"] = lambda x: scaler(x), attribute(scaler)
    found["method's global"] = lambda x: methods.method(x), set_rate
    found["bound method"] = functools.partial(methods.method), attribute(methods)
    found["static method"] = lambda x: Scaler.of_global(x), set_rate
    found["operator"] = lambda x: x * scaler[0], set_rate
    found["default"] = (
        lambda x, inner=inner: x * inner["a"],
        functools.partial(inner.__setitem__, "a"),
    )
    found["default function"] = lambda x, f=scaled: f(x), set_rate
    found["keyword of a partial"] = (
        functools.partial(lambda x, s: x * s.rate, s=plain), attribute(plain),
    )  # fmt: skip
    found["functions in a list"] = lambda x, fs=[[scaled]]: fs[0][0](x), set_rate
    found["compiled inside"] = lambda x: inside(x) + 1, set_rate
    found["wrapped"] = functools.wraps(scaled)(lambda x: scaled(x) * RATE), set_rate
    found["nested list"] = lambda x: x * rates[0][0], functools.partial(rates[0].__setitem__, 0)
    found["nested dict"] = (
        lambda x: x * table["a"]["b"], functools.partial(table["a"].__setitem__, "b"),
    )  # fmt: skip
    found["list in a tuple"] = lambda x: x * pair[0][0], functools.partial(pair[0].__setitem__, 0)
    found["set"] = lambda x: x * len(some), some.add
    found["deque"] = lambda x: x * len(queue), queue.append
    found["array in a list"] = lambda x: x * arrays["a"][0].mean(), arrays["a"][0].fill
    found["large array"] = lambda x: x * large.mean(), large.fill
    found["part of a large array"] = lambda x: x * view[1:3], view.fill
    found["module's list"] = lambda x: net(x), functools.partial(net.rates[0].__setitem__, 0)
    found["module's settings"] = lambda x: net(x), attribute(net.settings)
    found["module's class"] = lambda x: net(x), attribute(Net, "shared")
    found["zero's sign"] = lambda x: 1 / (x * 0 + RATE), lambda v: set_rate(0.0 if v > 1 else -0.0)
    found["int and float"] = lambda x: x.astype(int) * RATE, lambda v: set_rate(v if v > 1 else 1)
    found["None"] = (
        lambda x: x if RATE is None else x * RATE,
        (lambda v: set_rate(v if v > 1 else None)),
    )
    found["no value yet"] = not_there_yet, lambda v: globals().update({"LATER": v} if v > 1 else {})
    found["new attribute"] = (
        lambda x: x * getattr(net, "later", 1.0),
        (lambda v: setattr(net, "later", v) if v > 1 else None),
    )
    found["imported inside"] = imported_inside, attribute(MODULE)
    user, view_of = collections.UserDict(rate=1.0), {"rate": 1.0}
    proxy, heir, made, items, word = Proxy(plain), Heir(), Made(), Items(), Word(rate=1.0)
    seen, chain = types.MappingProxyType(view_of), collections.ChainMap({}, view_of)
    variable = contextvars.ContextVar("variable", default=1.0)
    settings, other, names = Settings(), Settings(), ["rate"]
    items.rate = scaled_by_its_own.rate = 1.0  # type: ignore[attr-defined]
    found["either of two"] = lambda x: x * (settings or other).rate, attribute(settings)  # type: ignore[truthy-bool]
    found["one of two"] = (
        lambda x: x * (settings if x.ndim else other).rate, attribute(settings),
    )  # fmt: skip
    found["by a descriptor"] = lambda x: x * Made.described.rate, attribute(settings)
    Made.described = Described(settings)
    chosen = Chosen([types.SimpleNamespace(rate=1.0)])
    found["another self"] = lambda x: chosen.among(x), attribute(chosen.others[0])
    found["by another object"] = lambda x: x * proxy.rate, attribute(plain)
    found["by several names"] = (
        lambda x: x * sum(getattr(plain, n) for n in ("rate", "rate")), attribute(plain),
    )  # fmt: skip
    found["by names outside"] = (
        lambda x: x * sum(getattr(plain, n) for n in names), attribute(plain),
    )  # fmt: skip
    found["by a name made inside"] = lambda x: x * getattr(plain, f"{'ra'}te"), attribute(plain)
    found["all attributes"] = lambda x: x * sum(vars(plain).values()), attribute(plain)
    found["dataclass as tuple"] = (
        lambda x: x * dataclasses.astuple(settings)[0],
        attribute(settings),
    )
    found["matched"] = functools.partial(matching, settings), attribute(settings)
    found["user's dict"] = lambda x: x * user["rate"], functools.partial(user.__setitem__, "rate")
    found["chain of dicts"] = (
        lambda x: x * chain["rate"], functools.partial(view_of.__setitem__, "rate"),
    )  # fmt: skip
    found["view of a dict"] = (
        lambda x: x * seen["rate"], functools.partial(view_of.__setitem__, "rate"),
    )  # fmt: skip
    found["dict with attributes"] = lambda x: x * word.rate, lambda v: word.update(rate=v)
    found["context variable"] = lambda x: x * variable.get(), variable.set
    found["a function's attribute"] = scaled_by_its_own, attribute(scaled_by_its_own)
    found["a list's attribute"] = lambda x: x * items.rate, attribute(items)
    found["hidden by a subclass"] = (
        lambda x: x * heir.shared,
        lambda v: setattr(Heir, "shared", v) if v > 1 else None,
    )
    found["a metaclass's property"] = lambda x: x * Made.rate, attribute(Made, "shared")
    found["partial method"] = lambda x: made.of_partial(x), set_rate
    found["imported from nearby"] = NEARBY["imported"], attribute(MODULE.inner)
    return found


def scaled_by_its_own(x: Any) -> Any:
    return x * scaled_by_its_own.rate  # type: ignore[attr-defined]


def matching(settings: Any, x: Any) -> Any:
    match settings:
        case Settings(rate):
            return x * rate


NEARBY: dict[str, Any] = {"__name__": "nearby.code", "__package__": "nearby"}
exec("def imported(x):\n    from .settings import rate\n    return x * rate", NEARBY)


def not_there_yet(x: Any) -> Any:
    try:
        return x * LATER  # type: ignore[name-defined]
    except NameError:
        return x


def imported_inside(x: Any) -> Any:
    from settings import rate  # type: ignore[import-not-found]

    return x * rate


CONSTANT = {"no value yet", "imported inside", "view of a dict",
            "context variable", "imported from nearby"}  # fmt: skip
"""What a step is not given: taken to be constant, until the trace is repeated."""


@pytest.mark.parametrize("name", reads())
def test_what_is_read_outside_is_compared_before_each_replay(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "settings", MODULE)
    monkeypatch.setitem(sys.modules, "nearby", types.ModuleType("nearby"))
    monkeypatch.setitem(sys.modules, "nearby.settings", MODULE.inner)
    monkeypatch.setitem(globals(), "RATE", 1.0)
    for holder in (Scaler, Net, Made):
        monkeypatch.setattr(holder, "shared", 1.0)
    monkeypatch.delitem(globals(), "LATER", raising=False)
    function, change = reads()[name]
    compiled = tg.compile(function, exact=True)
    with np.errstate(divide="ignore"):
        for value in (1.0, 2.0):
            change(value)
            if value == 2 and name in CONSTANT:
                with pytest.raises(tg.CompileError, match="not do the same at each call"):
                    compiled(X)
                break
            for _ in range(3):
                same(compiled(X), function(X))
    monkeypatch.delitem(globals(), "LATER", raising=False)
    if "shared" in vars(Heir):
        del Heir.shared


def test_functions_and_objects_among_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    some, scaler = {1}, Scaler()
    of_function = tg.compile(lambda x, f: f(x))
    of_set, method = tg.compile(lambda x, s: x * len(s)), tg.compile(Scaler.method)
    for rate in (1.0, 2.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        some.add(int(rate))
        for _ in range(3):
            same(of_function(X, scaled), X * rate)
            same(of_set(X, some), X * len(some))
            same(method(scaler, X), X * rate)


def test_a_custom_rules_helper_and_an_optimisers_own_attributes() -> None:
    for kind in (Custom, lambda p, lr: optim.SGD(p, lr, momentum=0.5)):
        results = []
        for wrap in (lambda f: f, lambda f: tg.compile(f, exact=True)):
            w = parameter(1.0, 2.0)
            opt: Any = kind([w], 0.1)

            def step(x: Any, w: Any = w, opt: Any = opt) -> Any:
                loss = (w * x).sum() + opt.lr
                loss.backward()
                opt.step()
                opt.zero_grad()
                return loss

            run, losses = wrap(step), []
            for i in range(8):
                set_rate(1.0 + i // 5)
                opt.lr = 0.1 * (1 + i // 6)
                if i == 5 and opt.slots:
                    opt.state = [[np.array([5.0, 6.0])]]
                losses.append(run(X).item())
            results.append((losses, w.tolist()))
        assert results[0] == results[1]
    set_rate(1.0)
