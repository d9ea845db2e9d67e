"""Modules that hold modules: in a sequence, in a list, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..module_state import Part
from ..tensor import Operand
from .module import Module


def _check(kind: str, module: Any) -> Module:
    if isinstance(module, list | tuple) and kind == "Sequential":
        raise TypeError(
            f"Sequential takes its modules one by one: write nn.Sequential(*layers), with a star, "
            f"got a {type(module).__name__} of {len(module)}"
        )
    if not isinstance(module, Module):
        raise TypeError(f"{kind} takes Modules, got {module!r}: write nn.ReLU(), not relu")
    return module


class _Listed(Module):
    """Modules in a list, named by their numbers."""

    modules: list[Module]

    def _parts(self) -> Iterator[Part]:
        return ((name.removeprefix("modules."), *rest) for name, *rest in super()._parts())

    def __getitem__(self, i: int) -> Module:
        return self.modules[i]

    def __len__(self) -> int:
        return len(self.modules)


class Sequential(_Listed):
    """Modules that are called one after the other, named by their numbers.

    >>> import numpy as np, tinygrad_np as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(4, 3), tg.nn.ReLU(), tg.nn.Linear(3, 2))
    >>> net(np.ones((5, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(self, *modules: Module) -> None:
        self.modules = [_check("Sequential", module) for module in modules]

    def forward(self, x: Operand) -> Any:
        """Apply each module to the result of the previous one."""
        for module in self.modules:
            x = module(x)
        return x


class ModuleList(_Listed):
    """A list of modules to call one by one. A plain list as an attribute works as well.

    >>> from tinygrad_np import nn
    >>> layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)])
    >>> [name for name, _ in layers.append(nn.ReLU()).named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.modules = [_check("ModuleList", module) for module in modules]

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the list."""
        self.modules.append(_check("ModuleList", module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, i: int, module: Module) -> None:
        """Add a module before position ``i``."""
        self.modules.insert(i, _check("ModuleList", module))

    def __setitem__(self, i: int, module: Module) -> None:
        self.modules[i] = _check("ModuleList", module)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules)


class ModuleDict(Module):
    """Modules by name, to call one by one. A plain dict as an attribute works as well.

    >>> from tinygrad_np import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(4, 10), "parity": nn.Linear(4, 2, bias=False)})
    >>> [name for name, _ in heads.named_parameters()]
    ['digit.weight', 'digit.bias', 'parity.weight']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.modules: dict[str, Module] = {}
        self.update(modules or {})

    def _parts(self) -> Iterator[Part]:
        return ((name.removeprefix("modules."), *rest) for name, *rest in super()._parts())

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules, or replace those of the same names."""
        for name, module in modules.items():
            self[name] = module

    def pop(self, name: str) -> Module:
        """Remove a module."""
        return self.modules.pop(name)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self.modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self.modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self.modules.items()

    def __getitem__(self, name: str) -> Module:
        return self.modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.modules[name] = _check("ModuleDict", module)

    def __delitem__(self, name: str) -> None:
        del self.modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self.modules

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)
