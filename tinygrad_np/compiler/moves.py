"""C for calls that move elements: reshapes, concatenations, gathers and scatters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import indexing
from .c_code import CArray, assign, at, converted, literal, loops, nest, numbered, substituted
from .fusion import Emit, Names, placed
from .program import Call, Value, values_in
from .symbol import with_item

_SCATTERED: Any = indexing.scattered.__wrapped__  # type: ignore[attr-defined]

_CONSTANT = {"mode", "constant_values"}


def reshaped(call: Call) -> Emit | None:
    """A reshape that copies."""
    if call.function is not np.ndarray.reshape or not isinstance(call.args[0], Value):
        return None
    x, out = call.args[0], call.out
    expected = np.ndarray(out.shape, out.dtype, np.empty(out.nbytes, np.uint8)).strides
    if out.strides != expected or call.kwargs:
        return None

    def lines(names: Names) -> list[str]:
        source, target = placed(names, x, out)
        return assign(target.view(lambda a: a.reshape(x.shape)), source)

    return lines


def joined(call: Call) -> Emit | None:
    """``np.concatenate`` and ``np.stack``."""
    stack = call.function is np.stack
    if not (stack or call.function is np.concatenate) or not call.kwargs.keys() <= {"axis"}:
        return None
    parts, *rest = call.args
    axis = rest[0] if rest else call.kwargs.get("axis", 0)
    if type(axis) is not int or not all(isinstance(part, Value) for part in parts):
        return None
    if any(converted("x", part.dtype, call.out.dtype) is None for part in parts):
        return None
    axis %= len(call.out.shape)

    def lines(names: Names) -> list[str]:
        (target,) = placed(names, call.out)
        text, start = [], 0
        for (source,) in (placed(names, part) for part in parts):
            end = start + (1 if stack else source.shape[axis])
            picked: Any = (slice(None),) * axis + (start if stack else slice(start, end),)
            text += assign(_part(target, picked), source)
            start = end
        return text

    return lines


def padded(call: Call) -> Emit | None:
    """``np.pad`` with a constant."""
    if call.function is not np.pad or len(call.args) != 2 or call.kwargs.keys() - _CONSTANT:
        return None
    (x, widths), out, mode = call.args, call.out, call.kwargs.get("mode", "constant")
    value = call.kwargs.get("constant_values", 0)
    known = mode == "constant" and type(value) in (int, float) and isinstance(x, Value)
    if not known or out.dtype.kind != "f" or any(True for _ in values_in(widths)):
        return None
    starts = np.broadcast_to(widths, (len(x.shape), 2))[:, 0].tolist()
    inside = tuple([slice(start, start + n) for start, n in zip(starts, x.shape, strict=True)])

    def lines(names: Names) -> list[str]:
        source, target = placed(names, x, out)
        return [*assign(target, literal(value, out.dtype)), *assign(_part(target, inside), source)]

    return lines


def _array_index(given: Any, rank: int) -> tuple[int, list[Any]] | None:
    """The number of leading whole axes and the integer arrays after them; None for other forms."""
    parts = list(given) if isinstance(given, tuple) else [given]
    while parts and parts[-1] == slice(None):
        parts.pop()
    first = next((i for i, p in enumerate(parts) if p != slice(None)), 0)
    arrays = []
    for given_part in parts[first:]:
        part = given_part
        if isinstance(part, list) and all(type(i) is int for i in part):
            part = Value(np.array(part, np.int64), "constant")
        if not isinstance(part, Value | int) or isinstance(part, bool):
            return None
        if isinstance(part, Value) and part.dtype.kind not in "iu":
            return None
        arrays.append(part)
    if not any(isinstance(part, Value) for part in arrays) or len(parts) > rank:
        return None
    return first, arrays


_BASIC = frozenset([int, np.int64, slice, type(None), type(Ellipsis)])


def _is_basic(given: Any) -> bool:
    parts = given if isinstance(given, tuple) else (given,)
    return _BASIC.issuperset(map(type, parts)) and not any(True for _ in values_in(given))


def _part(place: CArray, given: Any) -> CArray:
    parts = given if isinstance(given, tuple) else (given,)
    whole = parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)
    return place.view(lambda a: a[whole])


def _by_index(names: Names, picked: CArray, array: CArray, given: Any, text: str) -> list[str]:
    """Loops over an index's elements and the axes after them. ``A`` is picked, ``B`` is indexed."""
    found = _array_index(given, len(array.shape))
    assert found is not None
    first, parts = found
    places = [p if isinstance(p, int) else placed(names, p)[0] for p in parts]
    shape = np.broadcast_shapes(*[p.shape for p in places if isinstance(p, CArray)])
    outer = numbered(len(shape), "i")
    checks, words, steps = [], numbered(len(places), "p"), array.steps[first : first + len(places)]
    for k, part in enumerate(places):
        length = array.shape[first + k]
        word = str(part) if isinstance(part, int) else at(part, outer, part.broadcast(shape).steps)
        checks += [f"int64_t p{k} = {word};", f"if (place(&p{k}, {length}))", "return CODE;"]
    behind = [*range(first), *range(first + len(parts), len(array.shape))]
    ranks = [*range(first), *range(first + len(shape), len(picked.shape))]
    axes = nest([array.shape[k] for k in behind], [picked.steps[k] for k in ranks],
                [array.steps[k] for k in behind])  # fmt: skip
    inner = numbered(len(axes))
    onto = picked.steps[first : first + len(shape)]
    a = at(picked, [*outer, *inner], [*onto, *[s[0] for _, s in axes]])
    b = at(array, [*words, *inner], [*steps, *[s[1] for _, s in axes]])
    body = [*checks, *loops(axes, inner, [substituted(text, A=a, B=b) + ";"], True)]
    return loops([(n, ()) for n in shape], outer, body)


def gathered(call: Call) -> Emit | None:
    """``x[index]`` by arrays of integers."""
    if call.function is not np.ndarray.__getitem__ or not isinstance(call.args[0], Value):
        return None
    x, given = call.args
    if _array_index(given, len(x.shape)) is None:
        return None

    def lines(names: Names) -> list[str]:
        picked, array = placed(names, call.out, x)
        return _by_index(names, picked, array, given, "A = B")

    return lines


def scattered(call: Call) -> Emit | None:
    """Zeros with elements added at an index, as by ``np.add.at``."""
    if call.function is not _SCATTERED or not isinstance(call.args[0], Value):
        return None
    (g, given, shape), out = call.args, call.out
    basic = _is_basic(given)
    if not basic and (_array_index(given, len(shape)) is None or out.dtype.char not in "fd"):
        return None

    def lines(names: Names) -> list[str]:
        source, target = placed(names, g, out)
        zeros = [f"memset({target.pointer}, 0, {out.nbytes});"]
        if basic:
            return [*zeros, *assign(_part(target, given), source)]
        return [*zeros, *_by_index(names, source, target, given, "B += A")]

    return lines


def set_item(call: Call) -> Emit | None:
    """A copy with other elements at a basic index (numbers and slices)."""
    if call.function is not with_item:
        return None
    x, given, value = call.args
    if not isinstance(x, Value) or not isinstance(value, Value) or value.source == "number":
        return None
    if not _is_basic(given) or converted("x", value.dtype, x.dtype) is None:
        return None

    def lines(names: Names) -> list[str]:
        old, item, target = placed(names, x, value, call.out)
        return [*assign(target, old), *assign(_part(target, given), item)]

    return lines
