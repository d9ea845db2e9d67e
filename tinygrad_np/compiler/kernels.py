"""The C of what is not elementwise: sums, products, gathers, scatters, joins."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import native
from ..ops import indexing
from .c_code import Place, c_type, converted, expression, index, literal, loops, nest, substituted
from .fusion import Names
from .passes.gemm import gemm, layout
from .passes.rows import small_product
from .program import Call, Value, values_in
from .symbol import with_item

Emit = Callable[[Names], list[str]]
_SCATTERED: Any = indexing.scattered.__wrapped__  # type: ignore[attr-defined]
_STARTS = {np.add: 0, np.multiply: 1, np.maximum: None, np.minimum: None}


@dataclass(eq=False)
class Single:
    """A call of which C makes a kernel of its own."""

    call: Call
    lines: Emit
    raises: bool = False
    onto: Value | None = None
    """An operand in whose memory the result may be."""

    @property
    def calls(self) -> list[Call]:
        """The one call."""
        return [self.call]


def single(call: Call) -> Single | None:
    """The kernel of a call; None if C has none with NumPy's bits."""
    if not call.out.size or any(c_type(v.dtype) is None for v in _arrays(call)):
        return None
    if not all(v.size for v in _arrays(call)):
        return None
    for rule in (_reduction, _product, _gemm, _small_product, _reshaped, _joined):
        if (emit := rule(call)) is not None:
            return Single(call, emit, onto=call.args[0] if call.function is gemm else None)
    for rule in (_gathered, _scattered, _with_item):
        if (emit := rule(call)) is not None:
            return Single(call, emit, raises=True)
    return None


def _arrays(call: Call) -> list[Value]:
    return [call.out, *[value for value in call.inputs if value.source != "number"]]


def _names(count: int, letter: str = "j") -> list[str]:
    return [f"{letter}{k}" for k in range(count)]


def at(place: Place, variables: Iterable[str], steps: Iterable[int]) -> str:
    """An element, by the variables of loops."""
    return f"{place.pointer}[{index(variables, steps)}]"


def assign(out: Place, x: Place | str, how: str = "=") -> list[str]:
    """``out[...] = x``, or ``+=``, for x of any strides or a number's text."""
    source = replace(out, strides=(0,) * len(out.shape)) if isinstance(x, str) else x
    axes = nest(out.shape, out.steps, source.broadcast(out.shape).steps)
    names = _names(len(axes))
    left = at(out, names, [along[0] for _, along in axes])
    right = x if isinstance(x, str) else converted(
        at(x, names, [along[1] for _, along in axes]), x.dtype, out.dtype)  # fmt: skip
    if axes == [(math.prod(out.shape), (1, 1))] and how == "=" and source.dtype == out.dtype and source is x:
        return [f"memcpy({out.pointer}, {source.pointer}, {math.prod(out.shape) * out.dtype.itemsize});"]
    return loops(axes, names, [f"{left} {how} {right};"], independent=True)


def _placed(names: Names, *values: Value) -> list[Place]:
    found = [names.place(value) for value in values]
    return [place for place in found if place is not None]


def _reduction(call: Call) -> Emit | None:
    ufunc: Any = getattr(call.function, "__self__", None)
    if ufunc not in _STARTS or call.function.__name__ != "reduce" or len(call.args) != 2:
        return None
    (x, axis), out = call.args, call.out
    if not x.shape:
        return None
    types = (out.dtype,) * 3
    if call.kwargs.keys() != {"keepdims"} or x.dtype != out.dtype or x.dtype.char not in "efd":
        return None
    every = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    summed = {k % len(x.shape) for k in every}
    repeats = any(not s and n > 1 for s, n in zip(x.strides, x.shape, strict=True))
    if repeats or not native.sums_alike(x, summed) or native.loop(ufunc, types) is None:  # type: ignore[arg-type]
        return None

    def lines(names: Names) -> list[str]:
        source, target = _placed(names, x, out)
        steps = list(target.strides)
        for k in () if call.kwargs["keepdims"] else sorted(summed):
            steps.insert(k, 0)
        kept = tuple([0 if k in summed else step for k, step in enumerate(steps)])
        whole = replace(target, shape=x.shape, strides=kept)
        start = _STARTS[ufunc]
        if start is None:
            picked = tuple(slice(0, 1) if k in summed else slice(None) for k in range(len(x.shape)))
            first = source.view(lambda a: a[picked])
            before = assign(replace(whole, shape=first.shape), first)
        else:
            before = assign(target, literal(start, out.dtype) if out.dtype.char != "e" else "0")
        axes = nest(x.shape, source.steps, whole.steps)
        if not axes:
            return before if start is None else assign(target, source.view(lambda a: a.reshape(out.shape)))
        *outer, (n, (step, onto)) = axes
        text = expression(ufunc, types)
        few = n < 8 and ufunc is np.add and all(kept for _, (_, kept) in outer)
        if text and (onto or few):
            inner = _names(len(axes))
            a, b = at(whole, inner, [s[1] for _, s in axes]), at(source, inner, [s[0] for _, s in axes])
            text = f"{a} += {b}" if ufunc is np.add else f"{a} = {text}"
            body = loops(axes, inner, [substituted(text, a=a, b=b) + ";"], independent=bool(onto))
        else:
            inner = _names(len(outer))
            a = f"&{at(whole, inner, [s[1] for _, s in outer])}"
            b = f"&{at(source, inner, [s[0] for _, s in outer])}"
            size = x.dtype.itemsize
            body = loops(outer, inner, [
                f"call({names.loop(ufunc, types)}, {n}, "
                f"(isize[]){{{onto * size}, {step * size}, {onto * size}}}, (void *[]){{{a}, {b}, {a}}});"
            ])  # fmt: skip
        return [*before, *body]

    return lines


# Products


@functools.lru_cache(1000)
def _dot_is_matmul(a: Any, b: Any, char: str) -> bool:
    """Whether NumPy's two products give the same bits for these shapes and strides."""
    rng, arrays = np.random.default_rng(0), []
    for shape, strides in (a, b):
        size = np.dtype(char).itemsize
        low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0)
        high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)
        memory = np.resize(rng.standard_normal(1009).astype(char), (high - low) // size + 1)
        arrays.append(np.ndarray(shape, char, memory, -low, strides))
    one, other = np.dot(*arrays), np.matmul(*arrays)
    return one.tobytes() == other.tobytes()


def _product(call: Call) -> Emit | None:
    if call.function not in (np.matmul, np.dot, np.ndarray.dot) or call.kwargs:
        return None
    (a, b), out = call.args, call.out
    if not isinstance(a, Value) or not isinstance(b, Value) or {a.dtype, b.dtype} != {out.dtype}:
        return None
    if native.loop(np.matmul, (out.dtype,) * 3) is None or any(
        s % v.dtype.itemsize for v in (a, b, out) for s in v.strides
    ):
        return None
    if call.function is not np.matmul and (
        not {len(a.shape), len(b.shape)} <= {1, 2} or out.dtype.char not in "fd"
        or not _dot_is_matmul((a.shape, a.strides), (b.shape, b.strides), out.dtype.char)
    ):  # fmt: skip
        return None

    def lines(names: Names) -> list[str]:
        left, right, target = _placed(names, a, b, out)
        shape, strides = target.shape, target.strides
        if len(a.shape) == 1:
            left = replace(left, shape=(1, *a.shape), strides=(0, *a.strides))
            at_row = len(shape) - (len(b.shape) > 1)
            shape, strides = (*shape[:at_row], 1, *shape[at_row:]), (*strides[:at_row], 0, *strides[at_row:])
        if len(b.shape) == 1:
            right = replace(right, shape=(*b.shape, 1), strides=(*b.strides, 0))
            shape, strides = (*shape, 1), (*strides, 0)
        target = replace(target, shape=shape, strides=strides)
        (n, m), k, batch = shape[-2:], left.shape[-1], shape[:-2]
        places = [left, right, target]
        outer = [replace(p, shape=p.shape[:-2], strides=p.strides[:-2]).broadcast(batch) for p in places]
        axes = nest(batch, *[p.steps for p in outer])
        inner = _names(len(axes))
        words = [f"&{at(p, inner, [s[i] for _, s in axes])}" if axes else p.pointer
                 for i, p in enumerate(places)]  # fmt: skip
        steps = ", ".join(str(s) for p in places for s in p.strides[-2:])
        text = (f"product({names.loop(np.matmul, (out.dtype,) * 3)}, {n}, {k}, {m}, "
                f"(isize[]){{{steps}}}, {', '.join(words)});")  # fmt: skip
        return loops(axes, inner, [text]) if axes else [text]

    return lines


def _gemm(call: Call) -> Emit | None:
    """C + alpha * (A @ B), where C's memory holds the result: the update of a weight."""
    if call.function is not gemm:
        return None
    c, a, b, sign, factor = call.args
    out, (n, k), m = call.out, a.shape, b.shape[1]
    dtype, type_ = out.dtype, c_type(out.dtype)
    if k > 1 and (blas := native.blas(f"cblas_{'s' if dtype.char == 'f' else 'd'}gemm")) is None:
        return None

    def lines(names: Names) -> list[str]:
        old, left, right, target = _placed(names, c, a, b, out)
        is_number = isinstance(factor, Value)
        word = f"({type_}){names.number(factor)}" if is_number else literal(factor, dtype)
        text = [f"const {type_} alpha = {'-' if sign < 0 else ''}{word};"]
        if old.pointer != target.pointer:
            text += assign(target, old)
        if k == 1:
            x, y = at(left, ["i"], left.steps[:1]), at(right, ["j"], right.steps[1:])
            inner = loops([(m, ())], ["j"], [f"{at(target, 'ij', target.steps)} += x * {y};"], True)
            return ["{", *text, *loops([(n, ())], ["i"], [f"const {type_} x = alpha * {x};", *inner]), "}"]
        flags: list[Any] = []
        for v, place in ((a, left), (b, right)):
            turned, leading = layout(v) or (False, 0)
            flags += ["TRANSPOSED" if turned else "PLAIN", place.pointer, leading]
        table = names.address(f"blas_gemm_{type_}", blas or 0)
        (ta, pa, la), (tb, pb, lb) = flags[:3], flags[3:]
        # BLAS takes no look at A and B where alpha is 0; NumPy makes nan of 0 * inf.
        rest = f"gemm_{type_}({table}, {ta}, {tb}, {n}, {m}, {k}, %s, {pa}, {la}, {pb}, {lb}, %s, {target.pointer});"
        return ["{", *text, "if (alpha != 0)", rest % ("alpha", 1), "else", "{",
                f"static {type_} product[{n * m}];", rest.replace(target.pointer + ")", "product)") % (1, 0),
                f"for (isize i = 0; i < {n * m}; i++)", f"{target.pointer}[i] += alpha * product[i];",
                "}", "}"]  # fmt: skip

    return lines


def _small_product(call: Call) -> Emit | None:
    if call.function is not small_product:
        return None
    (a, b), out = call.args, call.out
    (n, k), m = a.shape, b.shape[1]

    def lines(names: Names) -> list[str]:
        left, right, target = _placed(names, a, b, out)
        x, y, z = at(left, "ik", left.steps), at(right, "kj", right.steps), at(target, "ij", target.steps)
        if k == 1:
            return loops([(n, ()), (1, ()), (m, ())], "ikj", [f"{z} = {x} * {y};"], True)
        if m > 1 and b.strides[1] == b.dtype.itemsize:
            # In an array of C's own the sums stay in registers.
            body = [f"{c_type(out.dtype)} sums[{m}] = {{0}};",
                    *loops([(k, ()), (m, ())], "kj", [f"sums[j] += {x} * {y};"], True),
                    *loops([(m, ())], "j", [f"{z} = sums[j];"], True)]  # fmt: skip
            return loops([(n, ())], "i", body)
        body = [f"{c_type(out.dtype)} sum = 0;", *loops([(k, ())], "k", [f"sum += {x} * {y};"]), f"{z} = sum;"]
        return loops([(n, ()), (m, ())], "ij", body)

    return lines


# Elements that move


def _reshaped(call: Call) -> Emit | None:
    if call.function is not np.ndarray.reshape or not isinstance(call.args[0], Value):
        return None
    x, out = call.args[0], call.out
    expected = np.ndarray(out.shape, out.dtype, np.empty(out.nbytes, np.uint8)).strides
    if out.strides != expected or call.kwargs:
        return None

    def lines(names: Names) -> list[str]:
        source, target = _placed(names, x, out)
        return assign(target.view(lambda a: a.reshape(x.shape)), source)

    return lines


def _joined(call: Call) -> Emit | None:
    stack = call.function is np.stack
    if not (stack or call.function is np.concatenate) or not call.kwargs.keys() <= {"axis"}:
        return None
    parts, *rest = call.args
    axis = rest[0] if rest else call.kwargs.get("axis", 0)
    if type(axis) is not int or any(not isinstance(p, Value) or converted("x", p.dtype, call.out.dtype) is None
                                    for p in parts):  # fmt: skip
        return None
    axis %= len(call.out.shape)

    def lines(names: Names) -> list[str]:
        (target,) = _placed(names, call.out)
        text, start = [], 0
        for (source,) in (_placed(names, part) for part in parts):
            end = start + (1 if stack else source.shape[axis])
            picked: Any = (slice(None),) * axis + (start if stack else slice(start, end),)
            text += assign(_part(target, picked), source)
            start = end
        return text

    return lines


def _array_index(given: Any, rank: int) -> tuple[int, list[Any]] | None:
    """How many whole axes come first, and the integer arrays that follow; None for other forms."""
    parts = list(given) if isinstance(given, tuple) else [given]
    while parts and parts[-1] == slice(None):
        parts.pop()
    first = next((i for i, p in enumerate(parts) if p != slice(None)), 0)
    arrays = []
    for part in parts[first:]:
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


def _part(place: Place, given: Any) -> Place:
    parts = given if isinstance(given, tuple) else (given,)
    whole = parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)
    return place.view(lambda a: a[whole])


def _by_index(names: Names, picked: Place, array: Place, given: Any, text: str) -> list[str]:
    """Loops over an index's elements and what lies behind each; ``a`` is picked, ``b`` the array's."""
    found = _array_index(given, len(array.shape))
    assert found is not None
    first, parts = found
    places = [p if isinstance(p, int) else _placed(names, p)[0] for p in parts]
    shape = np.broadcast_shapes(*[p.shape for p in places if isinstance(p, Place)])
    outer = _names(len(shape), "i")
    checks, rows = [], []
    for k, part in enumerate(places):
        step, length = array.steps[first + k], array.shape[first + k]
        word = str(part) if isinstance(part, int) else at(part, outer, part.broadcast(shape).steps)
        checks += [f"int64_t p{k} = {word};", f"if (place(&p{k}, {length}))", "return CODE;"]
        rows.append((f"p{k}", step))
    behind = [*range(first), *range(first + len(parts), len(array.shape))]
    ranks = [*range(first), *range(first + len(shape), len(picked.shape))]
    axes = nest([array.shape[k] for k in behind], [picked.steps[k] for k in ranks],
                [array.steps[k] for k in behind])  # fmt: skip
    inner = _names(len(axes))
    a = at(picked, [*outer, *inner], [*picked.steps[first : first + len(shape)], *[s[0] for _, s in axes]])
    b = at(array, [*[p for p, _ in rows], *inner], [*[s for _, s in rows], *[s[1] for _, s in axes]])
    body = [*checks, *loops(axes, inner, [substituted(text, A=a, B=b) + ";"], True)]
    return loops([(n, ()) for n in shape], outer, body)


def _gathered(call: Call) -> Emit | None:
    if call.function is not np.ndarray.__getitem__ or not isinstance(call.args[0], Value):
        return None
    x, given = call.args
    if _array_index(given, len(x.shape)) is None:
        return None
    return lambda names: _by_index(names, *_placed(names, call.out, x), given, "A = B")


def _scattered(call: Call) -> Emit | None:
    if call.function is not _SCATTERED or not isinstance(call.args[0], Value):
        return None
    (g, given, shape), out = call.args, call.out
    basic = _is_basic(given)
    if not basic and (_array_index(given, len(shape)) is None or out.dtype.char not in "fd"):
        return None

    def lines(names: Names) -> list[str]:
        source, target = _placed(names, g, out)
        zeros = [f"memset({target.pointer}, 0, {out.nbytes});"]
        if basic:
            return [*zeros, *assign(_part(target, given), source)]
        return [*zeros, *_by_index(names, source, target, given, "B += A")]

    return lines


def _with_item(call: Call) -> Emit | None:
    if call.function is not with_item:
        return None
    x, given, value = call.args
    if not isinstance(x, Value) or not isinstance(value, Value) or value.source == "number":
        return None
    if not _is_basic(given) or converted("x", value.dtype, x.dtype) is None:
        return None

    def lines(names: Names) -> list[str]:
        old, item, target = _placed(names, x, value, call.out)
        return [*assign(target, old), *assign(_part(target, given), item)]

    return lines

