"""Places: how a replay finds what a step is given, and what stood there before the trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Condition = tuple[str, tuple[Any, ...]]
"""A Python expression with numbered braces, and the objects that fill them."""

_WORDS = {"array": "data", "node": "requires_grad"}


@dataclass(frozen=True, eq=False)
class Place:
    """Where an object is found: an expression as in a Condition, and a label for messages."""

    text: str
    objects: tuple[Any, ...]
    label: str

    @property
    def is_argument(self) -> bool:
        """Whether it lies inside the arguments, which differ from call to call."""
        return self.text.startswith(("args", "kwargs"))

    @property
    def is_fixed(self) -> bool:
        """Whether the place always holds the same object: the object itself, or a tuple's item."""
        in_tuple = self.text == "{0}[{1}]" and isinstance(self.objects[0], tuple)
        return self.text == "{0}" or in_tuple

    def item(self, key: Any) -> Place:
        """The place of an item of the object here."""
        text = f"{self.text}[{{{len(self.objects)}}}]"
        return Place(text, (*self.objects, key), f"{self.label}[{key!r}]")

    def attribute(self, name: str) -> Place:
        """The place of an attribute of the object here."""
        return Place(f"{self.text}.{name}", self.objects, self.label)

    def condition(self, text: str, *objects: Any) -> Condition:
        """An expression in this place, ``{0}``, and in further objects, ``{1}`` and so on."""
        shift = len(self.objects)
        names = [self.text, *[f"{{{shift + i}}}" for i in range(len(objects))]]
        return text.format(*names), (*self.objects, *objects)


def itself(value: Any, label: str) -> Place:
    """The place of an object that is already known to be the same as in the trace."""
    return Place("{0}", (value,), label)


def held(holder: Any, key: Any, label: str) -> Place:
    """The place of a list's or dict's item."""
    return Place("{0}[{1}]", (holder, key), label)


def attribute(owner: Any, name: str, label: str) -> Place:
    """The place of an object's attribute."""
    return Place(f"{{0}}.{name}", (owner,), label)


@dataclass(frozen=True, eq=False)
class Holder:
    """A list, dict or object, its shadow, and the shadow's contents before the traced run.

    ``names`` are the attributes of an object. ``original`` is None for arguments, which each call
    makes anew. ``label`` is a format string that turns a key into the user's words.
    """

    original: Any
    shadow: Any
    names: tuple[str, ...]
    label: str
    before: dict[Any, Any]

    @staticmethod
    def contents(shadow: Any, names: tuple[str, ...]) -> dict[Any, Any]:
        """The contents by key, index or attribute name."""
        if names:
            return {name: getattr(shadow, name) for name in names}
        return dict(shadow if isinstance(shadow, dict) else enumerate(shadow))

    def word(self, key: Any) -> str:
        """A key in the user's words."""
        return self.label.format(_WORDS.get(key, key) if self.names else key)

    def changes(self) -> Iterator[tuple[Any, Any]]:
        """The keys that the traced run changed, with what they hold now (None if deleted)."""
        now = self.contents(self.shadow, self.names)
        for key in {**self.before, **now}:
            if self.before.get(key, self) is not now.get(key, self):
                yield key, now.get(key, self)


def same(a: Any, b: Any) -> bool:
    """Whether two plain values have the same type and text: 1, 1.0 and True differ, so do ±0.0."""
    return type(a) is type(b) and repr(a) == repr(b)


def same_items(a: Any, b: Any) -> bool:
    """Whether a long list or dict of plain values is unchanged."""
    if isinstance(b, dict):
        return same_items(list(a.items()), list(b.items()))
    return bool(a == b) and all(map(same, a, b))


def like(value: Any, parts: dict[Any, Any]) -> Any:
    """A tuple, list or dict of the same kind."""
    if isinstance(value, dict):
        return parts
    items = list(parts.values())
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
