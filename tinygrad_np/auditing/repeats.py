"""Mistakes where parts should add up: repeated indices, and windows that overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import Node
from ..tensor import Array
from .mistakes import Mistake, Slip, instead, slip, times
from .trace import Change, Trace, Use, parent_of


def mistakes(trace: Trace) -> Iterator[Slip]:
    """Elements that are overwritten where they are picked more than once."""
    for node, slot in trace.uses:
        if node.op is not None and node.op.name == "getitem":
            yield from _repeated(trace, node, slot)
    for node in trace.order:
        yield from _overlapping(trace, node)


def index_of(node: Node) -> Any:
    """The index of a getitem."""
    return (node.saved or (None,))[-1]


def _picked(node: Node, parent: Node) -> Array:
    """The places in the parent of the elements that a getitem picks."""
    places = np.arange(int(np.prod(parent.shape))).reshape(parent.shape)
    return np.asarray(places[index_of(node)])


def _repeated(trace: Trace, node: Node, slot: int) -> Iterator[Slip]:
    parent = parent_of(node, slot)
    picked = _picked(node, parent)
    if len(np.unique(picked)) == picked.size:
        return
    what = f"an index of {trace.labels[node]} that occurs more than once is overwritten, not added"

    def assigned(g: Any) -> Any:
        out = np.zeros(parent.shape)
        out[index_of(node)] = g
        return out

    def by_rows(g: Any) -> Any:
        out = np.zeros(parent.shape)
        for places, values in zip(picked, g, strict=True):
            out.flat[places.ravel()] += values.ravel()
        return out

    def first(g: Any) -> Any:
        out = np.zeros(parent.shape)
        flat = picked.ravel()
        out.flat[flat[::-1]] = np.ravel(g)[::-1]
        return out

    def shared(g: Any) -> Any:
        counts = np.bincount(picked.ravel(), minlength=int(np.prod(parent.shape)))
        total = np.bincount(picked.ravel(), np.ravel(g), int(np.prod(parent.shape)))
        return (total / np.maximum(counts, 1)).reshape(parent.shape)

    use = (node, slot)
    for key, change, words in (
        ("last", assigned, f"{what}: the last one stays"),
        ("rows", by_rows, f"{what} within a row: += counts each index once"),
        ("first", first, f"{what}: the first one stays"),
        ("mean", shared, f"the gradients of an index of {trace.labels[node]} that occurs more than "
         "once are averaged, not added"),
    ):  # fmt: skip
        yield slip("path", words, use, instead(change), key)


def _overlapping(trace: Trace, node: Node) -> Iterator[Slip]:
    """Windows of one array, written with = in a loop where += belongs."""
    windows = [use for use in trace.users[node] if use[0].op and use[0].op.name == "getitem"]
    if len(windows) < 2:
        return
    windows.sort(key=lambda use: use[0].tick)
    pixels = [_picked(user, node) for user, _ in windows]
    if len(np.unique(np.concatenate([p.ravel() for p in pixels]))) == sum(p.size for p in pixels):
        return
    what = f"windows of {trace.labels[node]} that overlap are overwritten, not added"
    for way, words in ((1, "the last one stays"), (-1, "the first one stays")):
        writer = np.full(node.shape, -1)
        for i in range(len(windows))[::way]:
            writer.flat[pixels[i].ravel()] = i
        edits: dict[Use, Change] = {use: times(writer == i) for i, use in enumerate(windows)}
        yield Mistake("path", f"{what}: {words}", windows[0], edits, ("overlap", way))
