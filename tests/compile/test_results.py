"""What a compiled function returns: every structure, and arrays that belong to the caller."""

from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import numpy as np

import tinygrad_np as tg
from tests.compile.steps import X, parameter


def several(x: Any) -> Any:
    return np.divmod(x, 2.0)


def test_a_function_with_several_results() -> None:
    compiled = tg.compile(several)
    for _ in range(3):
        for one, other in zip(compiled(X), several(X), strict=True):
            np.testing.assert_array_equal(one, other)


class Pair(NamedTuple):
    """Two results."""

    one: Any
    others: list[Any]


def test_results_of_every_structure() -> None:
    def step(x: Any) -> Any:
        t = tg.Tensor(x, name="t")
        return {"a": t + 1, "b": [x * 2, (x.sum(), t)], "c": 3, "d": None}

    compiled = tg.compile(step)
    for x in (X, X + 1, X + 2):
        found = compiled(x)
        assert found["a"].tolist() == (x + 1).tolist()
        assert found["b"][0].tolist() == (x * 2).tolist()
        assert type(found["b"][1]) is tuple
        assert found["b"][1][0] == x.sum()
        assert isinstance(found["b"][1][0], np.floating)
        assert (found["b"][1][1].name, found["c"], found["d"]) == ("t", 3, None)


def test_containers_keep_their_type() -> None:
    compiled = tg.compile(lambda x: Pair(OrderedDict(a=x), [defaultdict(list, {1: x})]))
    for _ in range(4):
        found = compiled(X)
        one, (other,) = found
        assert (type(one), type(other), other["new"]) == (OrderedDict, defaultdict, [])
        assert type(found) is Pair


def test_lists_without_arrays_belong_to_the_caller_too() -> None:
    compiled = tg.compile(lambda x: (x, {"log": [], "numbers": [1, [2]]}))
    for _ in range(4):
        _, found = compiled(X)
        assert found == {"log": [], "numbers": [1, [2]]}
        found["log"].append("seen")
        found["numbers"][1].append(3)


def test_results_belong_to_the_caller_and_inputs_are_left_alone() -> None:
    w = parameter(1.0, 2.0)
    compiled = tg.compile(lambda x, t: (x, x[0], w, w * x, t, t.T))
    x, t = X.copy(), tg.Tensor(X.copy())
    x.flags.writeable = False
    held = []
    for _ in range(4):
        for result in compiled(x, t):
            array = result.data if isinstance(result, tg.Tensor) else result
            held.append((array, array.copy()))
            array += 1
    for array, before in held:
        assert (array == before + 1).all()
    assert (x == X).all()
    assert (t.data == X).all()
    assert w.tolist() == [1.0, 2.0]
