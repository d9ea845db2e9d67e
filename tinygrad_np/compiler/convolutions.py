"""C for convolutions: the sizes and tables that ``native/convolution.h`` needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from .. import native
from ..ops import convolution
from .c_code import CArray, assign, c_type, element, loops, nest, numbered
from .fusion import Emit, Names, placed
from .parts import headers
from .passes.direct import Direct
from .program import Call

_FRAME = 1 << 18
"""Bytes of a frame. A larger image is cut into blocks of rows, which stay in the cache."""

_TRANSPOSE: Any = convolution.transpose_convolve.__wrapped__  # type: ignore[attr-defined]
_CORRELATE: Any = convolution.correlate.__wrapped__  # type: ignore[attr-defined]
_ONES, _ZEROS = (1, 1, 1), (0, 0, 0)


def convolved(call: Call) -> Emit | None:
    """A convolution that the pass ``direct`` has marked."""
    if not isinstance(call.function, Direct):
        return None
    return lambda names: _Text(call, names).lines(names)


def _three(numbers: Iterable[int], fill: int = 1) -> tuple[int, ...]:
    """One to three numbers, one for each axis, filled up to three."""
    return tuple([fill, fill, *numbers][-3:])


def _braces(items: Iterable[Any]) -> str:
    return f"{{{', '.join(map(str, items))}}}"


def _window(*parts: Iterable[int]) -> str:
    return _braces(map(_braces, parts))


class _Text:
    """The C text of one convolution.

    ``x`` is copied into frames with the padding; ``y`` is read or written in rows. ``x`` is the
    input and ``y`` the output, except in the transposed map, where it is the other way around.
    """

    def __init__(self, call: Call, names: Names) -> None:
        function, args = call.function.function, call.args  # type: ignore[attr-defined]
        self.back, self.adds = function is _TRANSPOSE, function is _CORRELATE
        first, second, out = placed(names, *args[:2], call.out)
        self.x, self.weights, self.y = (second, out, first) if self.adds else (first, second, out)
        stride, pads, dilation, self.groups = args[-4:]
        image, result = (self.y, self.x) if self.back else (self.x, self.y)
        self.size, self.out = _three(image.shape[2:]), _three(result.shape[2:])
        self.kernel, self.stride = _three(self.weights.shape[2:]), _three(stride)
        self.before = _three([before for before, _ in pads], 0)
        self.dilation = _three(dilation)
        self.filters = self.y.shape[1] // self.groups
        self.channels = self.x.shape[1] // self.groups
        self.type, self.name = c_type(call.out.dtype) or "", "NAME"
        self.taps = list(itertools.product(*map(range, self.kernel)))
        used = sorted({self._split(tap)[0] for tap in self.taps})
        self.phases = list(itertools.product(*map(range, self.stride))) if self.back else used
        self.start = tuple(b // s if self.back else 0
                           for b, s in zip(self.before, self.stride, strict=True))  # fmt: skip
        self._cut()

    def _split(self, tap: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The phase (position modulo stride) that an element of a filter meets, and its place."""
        places = [i * d for i, d in zip(tap, self.dilation, strict=True)]
        return (
            tuple(p % s for p, s in zip(places, self.stride, strict=True)),
            tuple(p // s for p, s in zip(places, self.stride, strict=True)),
        )

    def _cut(self) -> None:
        """Cut the outputs into blocks of rows whose frames fit the cache."""
        self.reach = self._split(tuple(k - 1 for k in self.kernel))[1]
        count = list(self.out)
        if self.back:
            sides = zip(self.before, self.size, self.stride, self.start, strict=True)
            count = [(b + n - 1) // s + 1 - start for b, n, s, start in sides]
        self.axis = next((k for k in range(3) if count[k] > 1), 2)
        n, itemsize = count[self.axis], self.x.dtype.itemsize
        shape = [c + r for c, r in zip(count, self.reach, strict=True)]
        self.views = 1 if self.back else len(self.phases)
        row = math.prod(shape) // shape[self.axis] * self.views * self.x.shape[1] * itemsize
        self.blocks = -(-n // max(1, _FRAME // row - self.reach[self.axis]))
        count[self.axis] = -(-n // self.blocks)
        self.count = count
        self.shape = [c + r for c, r in zip(count, self.reach, strict=True)]

    def _at(self, place: Sequence[int]) -> int:
        return (place[0] * self.shape[1] + place[1]) * self.shape[2] + place[2]

    def _image(self, phase: tuple[int, ...], place: CArray) -> str:
        """The window of the image that belongs to a phase."""
        sides = zip(self.start, self.stride, phase, self.before, strict=True)
        first = [start * s + a - b for start, s, a, b in sides]
        return _window(first, self.stride, self.size, _three(place.steps[2:], 0))

    def _tables(self) -> list[str]:
        """Tables of where each element of a filter meets the inputs, and the phases' windows."""
        steps, size = _three(self.weights.steps[2:], 0), math.prod(self.shape)
        places: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for tap in self.taps:
            phase, place = self._split(tap)
            weight = sum(i * step for i, step in zip(tap, steps, strict=True))
            if self.back:
                met = self._at([r - q for r, q in zip(self.reach, place, strict=True)])
                places.setdefault(phase, []).append((met, weight))
            else:
                met = self.phases.index(phase) * size + self._at(place)
                places.setdefault(_ZEROS, []).append((met, weight))
        if self.back:
            first = [q - r for q, r in zip(self.start, self.reach, strict=True)]
            views = [_window(first, _ONES, self.out, _three(self.x.steps[2:], 0))]
            results = {phase: self._image(phase, self.y) for phase in self.phases}
        else:
            views = [self._image(phase, self.x) for phase in self.phases]
            results = {_ZEROS: _window(_ZEROS, _ONES, self.out, _three(self.y.steps[2:], 0))}
        text, phases = [], []
        for k, (phase, window) in enumerate(results.items()):
            pairs = places.get(phase, [])
            names = f"{self.name}_at{k}", f"{self.name}_weight{k}"
            for name, found in zip(names, zip(*(pairs or [(0, 0)]), strict=True), strict=True):
                text.append(f"static const isize {name}[] = {_braces(found)};")
            phases.append(_braces([len(pairs), *names, window]))
        self.most = max(map(len, places.values()))
        return [*text, f"static const Window {self.name}_view[] = {_braces(views)};",
                f"static const Phase {self.name}_phase[] = {_braces(phases)};"]  # fmt: skip

    def _description(self) -> str:
        w, back = self.weights.steps, self.back
        fields = {
            "images": self.x.shape[0], "groups": self.groups,
            "filters": self.filters, "channels": self.channels,
            "in_image": self.x.steps[0], "in_channel": self.x.steps[1],
            "out_image": self.y.steps[0], "out_channel": self.y.steps[1],
            "weight_group": w[0] * (self.channels if back else self.filters),
            "weight_filter": w[back], "weight_channel": w[not back],
            "shape": _braces(self.shape), "count": _braces(self.count),
            "length": 1 + self._at([n - 1 for n in self.count]),
            "blocks": self.blocks, "axis": self.axis,
            "views": self.views, "phases": len(self.phases) if back else 1,
            "view": f"{self.name}_view", "phase": f"{self.name}_phase",
        }  # fmt: skip
        words = ", ".join(f".{key} = {value}" for key, value in fields.items())
        return f"static const Convolution {self.name}_sizes = {{{words}}};"

    def _task(self) -> list[str]:
        """The function that computes a share of the images, and its memory."""
        name, frame = self.name, math.prod(self.shape)
        elements = self.channels * (self.most if self.adds else len(self.taps)) + 8
        memory = {
            "frame": f"THREADS][{-(-frame * self.views * self.x.shape[1] // 64 + 1) * 64 + 64}",
            "rows": f"THREADS][MOST * {-(-frame // 64) * 64 + 64}",
            "weights": f"{'THREADS' if self.adds else 1}][{self.groups} * TILES({self.filters}) "
            f"* TALL({self.filters}) * {elements}",
        }
        own = ", ".join(f"{name}_{what}[part]" for what in ("frame", "rows", "place"))
        how, which = ("correlate", "part") if self.adds else ("convolve", "0")
        return [
            *[f"static _Alignas(64) {self.type} {name}_{what}[{size}];"
              for what, size in memory.items()],
            f"static isize {name}_place[THREADS][{self.channels * self.most + 8}];",
            f"static void {name}(void **operands, isize part, isize parts)", "{",
            f"{self.type}_{how}(&{name}_sizes, TALL({self.filters}), operands[0], "
            f"{name}_weights[{which}], operands[1], {own}, part, parts);", "}",
        ]  # fmt: skip

    def lines(self, names: Names) -> list[str]:
        """The lines that call the convolution's functions, one share of the images a thread."""
        headers(names, self.type, native.CONVOLUTION)
        own = ["FUSED", *self._tables(), self._description(), *self._task(), "FUSED_END"]
        self.name = names.function("convolution", "\n".join(own))
        x, weights, y = self.x.pointer, self.weights.pointer, self.y.pointer
        type_, sizes = self.type, f"&{self.name}_sizes, TALL({self.filters})"
        work = math.prod(self.count) * self.blocks * len(self.taps) * self.channels
        images, filters = self.x.shape[0], self.y.shape[1]
        run = names.in_parts(self.name, work * images * filters / 50, images * self.blocks,
                             f"(void *){x}", f"(void *){y}")  # fmt: skip
        if self.adds:
            shape = self.x.shape
            axes = nest(shape, self.x.steps)
            inner = numbered(len(axes))
            finite = f"fabs({element(self.x, inner, axes, 0)}) < INFINITY"
            return [
                "{", "int finite = 1;", f"const isize parts = {run}",
                f"if ({type_}_collect({sizes}, *{self.name}_weights, sizeof(*{self.name}_weights) "
                f"/ sizeof({type_}), parts, {weights}))",
                *loops(axes, inner, [f"finite &= {finite};"]),
                "if (!finite) {", *assign(self.weights, "0"),
                f"{type_}_plainly(&{self.name}_sizes, {x}, {weights}, {y}, 1);", "}", "}",
            ]  # fmt: skip
        packed = [f"{type_}_pack({sizes}, {weights}, *{self.name}_weights);", run]
        plainly = f"{type_}_plainly(&{self.name}_sizes, {x}, {weights}, {y}, 0);"
        if not self.back:
            return packed
        return [
            f"if ({type_}_finite(&{self.name}_sizes, {weights})) {{", *packed, "} else {",
            *assign(self.y, "0"), plainly, "}",
        ]  # fmt: skip
