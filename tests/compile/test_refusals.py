"""What ``tg.compile`` cannot replay is refused, and the error names the line."""

import inspect
import os
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tests.compile.steps import X, parameter


def branch(x: Any) -> Any:
    return x * 2 if (x > 0).all() else x


def item(x: Any) -> Any:
    return x * x.sum().item()


def as_float(x: Any) -> Any:
    return x * float(x.sum())


def as_index(x: Any) -> Any:
    return x[int(x[0, 0])]


def as_array(x: Any) -> Any:
    return np.asarray(x) * 2


def as_list(x: Any) -> Any:
    return x.tolist()


def counted(x: Any) -> Any:
    return x * len(range(int(x.sum())))


def formatted(x: Any) -> Any:
    return f"{x.sum():.2f}"


def random_array(x: Any) -> Any:
    return x + np.random.default_rng().normal(size=2)


def random_number(x: Any) -> Any:
    return x * np.random.default_rng().normal()


def random_generator(x: Any) -> Any:
    return tg.dropout(x, 0.5, rng=np.random.default_rng())


def written_out(x: Any) -> Any:
    return np.sum(x, axis=0, out=np.empty(2))


def written_into_another(x: Any) -> Any:
    total = np.zeros((2, 2))
    total += x
    return total


def added_at(x: Any) -> Any:
    np.add.at(x, [0], 1.0)
    return x


def masked(x: Any) -> Any:
    return x[x > 0]


def places(x: Any) -> Any:
    return np.nonzero(x)[0]


def uniques(x: Any) -> Any:
    return np.unique(x)


def plain_indexed(x: Any) -> Any:
    return np.eye(5)[x.astype(int)]


REFUSED = [
    branch, item, as_float, as_index, as_array, as_list, counted, formatted, random_array,
    random_number, random_generator, written_out, written_into_another,
    added_at, masked, places, uniques, plain_indexed,
]  # fmt: skip


@pytest.mark.parametrize("function", REFUSED)
def test_what_cannot_be_replayed_is_refused_with_its_line(function: Any) -> None:
    compiled = tg.compile(function)

    def repeated() -> None:
        for _ in range(3):
            compiled(np.abs(X))

    with pytest.raises(tg.CompileError) as caught:
        repeated()
    first, last = (n + inspect.getsourcelines(function)[1] for n in (1, 9))
    lines = [f"{__file__}:{line} in {function.__name__}" for line in range(first, last)]
    assert any(line in str(caught.value) for line in lines), str(caught.value)


def test_a_traced_array_kept_after_its_call_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(sys, "hidden", kept, raising=False)

    @tg.compile
    def step(x: Any) -> Any:
        sys.hidden.append(tg.exp(x))  # type: ignore[attr-defined]
        return x

    step(X)
    with pytest.raises(tg.CompileError, match="an earlier trace left"):
        kept[0] + 1
    with pytest.raises(tg.CompileError, match="an earlier trace left"):
        tg.compile(lambda x: x + kept[0])(X)


def test_arguments_that_are_not_plain_arrays_are_refused() -> None:
    with pytest.raises(tg.CompileError, match="MaskedArray"):
        tg.compile(lambda x: x)(np.ma.array([1.0]))
    with pytest.raises(tg.CompileError, match="dtype"):
        tg.compile(lambda x: x)(np.array(["a"]))
    with pytest.raises(tg.CompileError, match="dtype"):
        tg.compile(lambda x: x)(np.array([1.0], ">f8"))
    with pytest.raises(tg.CompileError, match="computed outside"):
        tg.compile(lambda x: x * 2)(parameter(1.0) * 2)


def test_a_replay_whose_shapes_depend_on_values_is_an_error() -> None:
    compiled = tg.compile(lambda x: np.trim_zeros(x) if isinstance(x, list) else np.diag(x[0]))
    for _ in range(3):
        assert compiled(X).shape == (2, 2)

    @tg.tracing.pure
    def positive(x: Any) -> Any:
        return x[x > 0]

    picking = tg.compile(lambda x: positive(x) * 2)
    for _ in range(3):
        assert picking(np.array([1.0, -1.0])).tolist() == [2.0]
    for verify in (True, False):
        picking = tg.compile(lambda x: positive(x) * 2, verify=verify)
        picking(np.array([1.0, -1.0]))
        with pytest.raises(tg.CompileError, match="depends on values|gives .* where it gave"):
            picking(np.array([1.0, 1.0]))


def more_calls(x: Any, again: bool) -> Any:
    return np.tanh(np.exp(x)) if again else np.exp(x)


def another_type(x: Any, again: bool) -> Any:
    return x * (2.0 if again else 2)


def more_arrays(x: Any, again: bool) -> Any:
    return np.concatenate([x, x, x] if again else [x, x])


def another_order(x: Any, again: bool) -> Any:
    y = x * 3.0
    return y - x if again else x - y


def another_shape(x: Any, again: bool) -> Any:
    return x * np.ones((1, 2) if again else (2, 2))


def another_result(x: Any, again: bool) -> Any:
    y = x * 3.0
    return x if again else y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (more_calls, "calls tanh where it called"), (another_type, r"2\.0\) where it got .* 2\)"),
        (more_arrays, "concatenate gets"), (another_order, "subtract gets"),
        (another_shape, r"multiply gets .*1\., 1\."),
        (another_result, "the result gets"),
    ],
)  # fmt: skip
def test_a_second_run_that_differs_is_an_error(
    function: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tg.compile
    def step(x: Any) -> Any:
        return function(x, "TWICE" in os.environ)  # which the step is not given

    step(X)
    monkeypatch.setenv("TWICE", "yes")
    with pytest.raises(tg.CompileError, match=words):
        step(X)


class Special(np.ndarray):
    """Some other kind of array."""


def test_arrays_outside_that_are_not_plain_arrays_are_refused() -> None:
    special, a, b = X.view(Special), tg.Tensor(X.copy()), tg.Tensor(X.copy())

    def shared(x: Any) -> Any:
        a.data = b.data
        return x

    def misfit(x: Any) -> Any:
        return x.reshape(3, 3)

    def truncated(x: Any) -> Any:
        np.copyto(a.data, x * 1j)
        return x

    for function, error, words in [
        (lambda x: np.add(x, special), tg.CompileError, "add returns Special, not an array"),
        (lambda x: np.concatenate([x, special]), tg.CompileError, "type Special are not traced"),
        (shared, tg.CompileError, "share an array with"),
        (misfit, ValueError, "cannot reshape"),
        (truncated, TypeError, "cannot write complex128 into an array of float64"),
    ]:
        with pytest.raises(error, match=words):
            tg.compile(function)(X)


def test_iterators_are_refused() -> None:
    for made in (iter([1.0, 1.0, 2.0, 3.0]), (v for v in (1.0, 1.0, 2.0, 3.0))):
        compiled = tg.compile(lambda x, made=made: x * next(made))
        with pytest.raises(tg.CompileError, match="is an iterator"):
            compiled(np.ones(1))


def test_writing_to_a_part_of_an_array_is_refused() -> None:
    w = parameter(1.0, 2.0)

    def step(x: Any) -> Any:
        part = w.data[:1]
        part -= x
        return x

    with pytest.raises(tg.CompileError, match="in place"):
        tg.compile(step)(np.ones(1))


def test_an_array_made_in_the_step_cannot_be_indexed_by_a_traced_one() -> None:
    table, index = np.arange(5.0), np.array([3, 1])
    with pytest.raises(tg.CompileError, match="make an array that is to be indexed outside"):
        tg.compile(lambda i: np.arange(5.0)[i])(index)
    found = tg.compile(lambda i: (table[i], np.take(table, i)))(index)
    assert [list(values) for values in found] == [[3, 1]] * 2
    assert tg.compile(lambda i: tg.take(np.arange(5.0), i, axis=0))(index).tolist() == [3, 1]
