"""Fewer vertices: repeated blocks become one, scopes become boxes, others are left out."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .names import legible
from .walk import Edge, Vertex

LONGEST_BLOCK = 256
Path = tuple[str, ...]
Numbers = NDArray[np.int64]


def fold(
    vertices: list[Vertex], collapse: bool | str | Iterable[str], max_nodes: int | None
) -> tuple[list[Vertex], list[str]]:
    """The vertices to be drawn, and notes on the others; the arguments are those of ``draw``.

    Raises ValueError for an unknown scope.
    """
    notes: list[str] = []
    if not isinstance(collapse, bool):
        wanted = map(legible, [collapse] if isinstance(collapse, str) else collapse)
        vertices = _collapse(vertices, {path for name in wanted for path in _found(vertices, name)})
    if collapse is not False:
        vertices = _fold_repeats(vertices, notes)
    if max_nodes is None or len(vertices) <= max_nodes:
        return vertices, notes
    for depth in range(max(len(v.scope) for v in vertices), 0, -1):
        vertices = _collapse(vertices, {v.scope[:depth] for v in vertices if len(v.scope) >= depth})
        if len(vertices) <= max_nodes:
            break
    if boxes := sum(v.kind == "collapsed scope" for v in vertices):
        notes.append(f"more than {max_nodes} nodes: {boxes} scopes drawn as boxes")
    if len(vertices) > max_nodes:
        vertices = _leave_out(vertices, max_nodes, notes)
    return vertices, notes


def _found(vertices: list[Vertex], name: str) -> set[Path]:
    """The scopes of this name."""
    paths = {path for v in vertices for path in prefixes(v.scope)}
    found = {path for path in paths if name in (path[-1], "/".join(path))}
    if not found:
        known = sorted("/".join(path) for path in paths)
        none = "none (with tg.scope(name), or modules called inside tg.record())"
        raise ValueError(f"no scope called {name!r} to collapse: the graph's are {known or none}")
    return found


def _merge(
    vertices: list[Vertex], into: Mapping[Vertex, Vertex], *, boxes: bool = False
) -> list[Vertex]:
    """Merge vertices into others, with their edges and those from one block to the next.

    ``boxes`` are new, look like the last op inside, and hide the edges inside.
    """
    for vertex, target in [(v, into[v]) for v in vertices if v in into]:
        target.kept += vertex.kept
        target.bad |= vertex.bad
        target.trouble = target.trouble or vertex.trouble
        if vertex.seconds is not None:
            target.seconds = (target.seconds or 0.0) + vertex.seconds
        if not boxes:
            target.last = vertex.last or vertex.title
            target.count += vertex.count
            target.values += vertex.values
            target.gradients += vertex.gradients
        elif vertex.is_op:
            target.count += vertex.count
            for name in ("shape", "dtype", "backward", "values", "gradients"):
                setattr(target, name, getattr(vertex, name))
    made = set(into.values()) if boxes else set()
    for box in made:
        box.title += f"\n{box.count:,} ops"
    edges: dict[Vertex, dict[tuple[Vertex, str], Edge]] = {}
    for vertex in vertices:
        target = into.get(vertex, vertex)
        known = edges.setdefault(target, {})
        for edge in vertex.inputs:
            source = into.get(edge.source, edge.source)
            if target not in made:
                moved = dataclasses.replace(edge, source=source)
                known.setdefault((source, edge.input), moved)
            elif source is not target:
                known.setdefault((source, ""), Edge(source))
    for vertex, known in edges.items():
        vertex.inputs = list(known.values())
    return list(edges)


def _collapse(vertices: list[Vertex], paths: set[Path]) -> list[Vertex]:
    """Put each scope's ops, and the parameters and constants that only they use, into one box."""
    boxes = {path: Vertex("collapsed scope", path[-1], scope=path[:-1], count=0) for path in paths}
    box_of: dict[Vertex, Vertex] = {}
    users: dict[Vertex, set[Vertex | None]] = {}
    for vertex in vertices:
        for path in prefixes(vertex.scope):
            if path in boxes:
                box_of.setdefault(vertex, boxes[path])  # the outermost scope comes first
        for edge in vertex.inputs:
            users.setdefault(edge.source, set()).add(box_of.get(vertex))
    for vertex, around in users.items():
        if vertex.kind in ("parameter", "constant") and len(around) == 1:
            [box] = around
            if box is not None:
                box_of[vertex] = box
    return _merge(vertices, box_of, boxes=True)


def _leave_out(vertices: list[Vertex], limit: int, notes: list[str]) -> list[Vertex]:
    """Draw only the beginning and the end."""
    half = max(1, (limit - 1) // 2)
    middle = vertices[half : max(half + 1, len(vertices) - half)]
    if not any(v.is_op for v in middle):
        return vertices
    box = Vertex("left out", "…", count=0)
    merged = _merge(vertices, dict.fromkeys(middle, box), boxes=True)
    notes.append(f"more than {limit} nodes: {box.count:,} ops in the middle are not drawn")
    return merged


# Repeated blocks


def _fold_repeats(vertices: list[Vertex], notes: list[str]) -> list[Vertex]:
    letters = itertools.cycle(string.ascii_uppercase)
    while found := _longest_repeat(ops := [v for v in vertices if v.is_op]):
        start, length, times = found
        ops = ops[start : start + length * times]
        block = ops[:length]
        stays = {edge.source for vertex in block for edge in vertex.inputs}
        into: dict[Vertex, Vertex] = {}
        for i, vertex in enumerate(ops[length:]):
            first = into[vertex] = block[i % length]
            for own, its in zip(vertex.inputs, first.inputs, strict=False):
                source = own.source
                if not source.is_op and source.kind == its.source.kind and source not in stays:
                    into.setdefault(source, its.source)
        name = _name_block(ops, length, times, next(letters))
        notes.append(f"{name}: {length} ops each" if length > 1 else name)
        vertices = _merge(vertices, into)
    return vertices


def _longest_repeat(ops: list[Vertex]) -> tuple[int, int, int] | None:
    """The longest repetition of a block of ops: (start, length, times).

    None if folding saves fewer than six ops. Inputs must have the same shapes. The first block may
    start from anything; each other block starts from the result of the block before.
    """

    def joint(i: int) -> tuple[int, bool]:
        """The cost of a cut before op i: higher inside a scope, or away from its parameters."""
        shared = len(common([ops[i - 1].scope, ops[i].scope])) if i else 0
        return shared, not any(edge.source.kind == "parameter" for edge in ops[i].inputs)

    facts, looks = _numbered(ops)
    best, saved = None, 5
    for length in range(1, min(len(ops) // 3, LONGEST_BLOCK) + 1):
        a, b = facts[:-length], facts[length:]
        same = (a == b) | ((a >= 0) & (b == a + length))
        bounds = np.flatnonzero(np.diff(same.all(axis=1), prepend=False, append=False))
        for begin, end in bounds.reshape(-1, 2).tolist():
            if end - begin < max(length, saved - length + 1):
                continue
            start = begin
            for i in range(begin - 1, max(begin - length, 0) - 1, -1):
                outside = (looks[i] == looks[i + length]) & (a[i] < max(i - length + 1, 0))
                if not (same[i] | outside).all():
                    break
                start = i
            times, slack = divmod(end - start + length, length)
            if times >= 3 and length * (times - 1) > saved:
                best = (min(range(start, start + slack + 1), key=joint), length, times)
                saved = length * (times - 1)
    return best


def _numbered(ops: list[Vertex]) -> tuple[Numbers, Numbers]:
    """Rows of numbers for each op and its inputs, to compare ops: in full, and by shape alone.

    In the first table an input that is an op has its place; all other numbers are below 0.
    """
    width = 1 + min(6, max((len(v.inputs) for v in ops), default=0))
    place = {v: i for i, v in enumerate(ops)}
    numbers: dict[object, int] = {}
    facts = np.full((len(ops), width), -1, np.int64)
    looks = facts.copy()

    def number(*known: object) -> int:
        return -2 - numbers.setdefault(known, len(numbers))

    for i, v in enumerate(ops):
        edges = [edge for edge in v.inputs if place.get(edge.source, -1) < i]  # not those back
        own = v.title, v.shape, v.dtype, v.backward, v.count, v.kind, len(edges)
        facts[i, 0], looks[i, 0] = number(own, *[edge.rule for edge in edges]), number(own)
        for j, edge in enumerate(edges[: width - 1], 1):
            s = edge.source
            value = s.title if s.kind == "constant" else ""
            facts[i, j] = place.get(s, number(s.kind, s.shape, s.dtype, value))
            looks[i, j] = number(s.shape, s.dtype)
    return facts, looks


def common(paths: Iterable[Path]) -> Path:
    """The innermost scope that contains all of them."""
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return tuple(level[0] for level in levels)


def prefixes(path: Path) -> list[Path]:
    """A scope and those around it, the outermost first."""
    return [path[: i + 1] for i in range(len(path))]


def _name_block(ops: list[Vertex], length: int, times: int, letter: str) -> str:
    """Give the first block a scope of its own: that of its modules, or a new one."""
    outer = common(v.scope for v in ops)
    depth = len(outer)
    first, last = (common(v.scope for v in b)[depth:] for b in (ops[:length], ops[-length:]))
    named = bool(first and last)
    name = f"{first[0]} … {last[0]} × {times}" if named else f"block {letter} × {times}"
    for vertex in ops[:length]:
        vertex.scope = (*outer, name, *vertex.scope[depth + named :])
    return name
