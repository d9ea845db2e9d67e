"""The module: a part of a network, its state by name, and a summary of it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .. import graph
from ..module_state import CONTAINERS, PARAMETERS, Part, State, kind_of, walk
from ..recorder import is_recorded, scope, scope_owner
from ..tables import Table
from ..tensor import Array, Tensor, plain


class Module:
    """A part of a network: Tensors and other Modules as attributes, and a ``forward`` method.

    Attributes may also be lists, tuples and dicts of these. A name is the path to a value.

    - *Parameters* are leaf Tensors that require grad. If their ``requires_grad`` was switched off,
      they are frozen. ``named_parameters`` lists both kinds; optimisers skip frozen ones.
    - *Buffers* are all other arrays: ndarrays, NumPy's numbers, constant Tensors. Python's numbers
      are settings.

    Parameters and buffers are the module's state, and ``state_dict``, files and ``summary`` show
    all of it. The class's ``transient`` names the attributes that are not part of the module, such
    as a cache or a reference to another module.

    >>> import numpy as np
    >>> from tinygrad_np import nn
    >>> class Net(nn.Module):
    ...     transient = ("last",)
    ...     def __init__(self):
    ...         self.hidden, self.out = nn.Linear(4, 3), nn.Linear(3, 2, bias=False)
    ...         self.seen = np.zeros(3)
    ...     def forward(self, x):
    ...         self.last = self.hidden(x).relu()
    ...         self.seen += self.last.data.sum(axis=0)
    ...         return self.out(self.last)
    >>> [name for name, _ in Net().named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight']
    >>> sorted(Net().state_dict())
    ['hidden.bias', 'hidden.weight', 'out.weight', 'seen']
    """

    training: bool = True
    transient: Collection[str] = ()
    """Names of attributes that are not part of the module, in addition to those of base classes."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, value in vars(cls).items():
            method = callable(value) or isinstance(value, staticmethod | classmethod)
            if name in _METHODS and not method:
                raise _hidden(cls, name)

    if not TYPE_CHECKING:  # otherwise type checkers would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _METHODS and (not callable(value) or isinstance(value, Module)):
                raise _hidden(type(self), name)
            super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation of the module. Each class defines its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``, under ``tg.record()`` in its own scope."""
        try:
            if not is_recorded():
                return self.forward(*args, **kwargs)
            outer = scope_owner()
            names = outer.children() if outer is not None else ()
            name = next((name for name, child in names if child is self), type(self).__name__)
            with scope(name, owner=self):
                return self.forward(*args, **kwargs)
        except Exception as error:
            with suppress(Exception):  # in extra_repr, for example: it must not hide the error
                _say_where(error, self)
            raise

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one, by name."""
        return ((name, v) for name, v, _, _ in self._parts() if isinstance(v, Module))

    def _parts(self) -> Iterator[Part]:
        """All values directly in this module, also those in lists, tuples and dicts."""
        left_out: set[str] = set()
        for cls in type(self).__mro__:
            names = cls.__dict__.get("transient")
            if names:
                left_out.update([names] if isinstance(names, str) else names)
        for name, value in list(vars(self).items()):
            if name in left_out:
                continue
            if isinstance(value, CONTAINERS):
                yield from walk((name, value, self, name))
            else:
                yield name, value, self, name

    def _own_state(self) -> Iterator[Part]:
        """The parts without the arrays of cached properties, which are computed on demand."""
        for part in self._parts():
            is_cached = isinstance(getattr(type(self), part[0], None), cached_property)
            if not (is_cached and kind_of(part[1]) == "buffer"):
                yield part

    def _state(self) -> State:
        return State(
            (f"{path}.{name}" if path else name, *rest)
            for path, module in self.named_modules()
            for name, *rest in module._own_state()
        )

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all modules inside it, with their paths.

        Raises ValueError if modules contain each other in a cycle.
        """
        return _named_modules(self, prefix, ())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """All parameters, also frozen ones, with their paths. A shared one has its first path.

        Raises ValueError if two have the same path.
        """
        return self._state().of(*PARAMETERS)

    def parameters(self) -> list[Tensor]:
        """All parameters, also frozen ones."""
        found = {
            id(value): value
            for _, module in self.named_modules()
            for _, value, _, _ in module._parts()
            if isinstance(value, Tensor) and kind_of(value) in PARAMETERS
        }
        return list(found.values())

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """All buffers (ndarrays, NumPy's numbers, constant Tensors) with their paths."""
        return self._state().of("buffer")

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode (dropout and the like are on); returns the module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode (dropout and the like are off); returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Copies of all arrays of the state by path: parameters, also frozen ones, and buffers."""
        return self._state().arrays()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy arrays into parameters and buffers, in place: all of them, or none.

        Raises ValueError with a list of all names that are missing, unexpected or do not fit.
        """
        self._state().load(state)

    def summary(self) -> Table:
        """A table of the layers, their parameters' shapes and counts, and the total.

        Frozen parameters and buffers are marked. Buffers are not part of the total.

        >>> from tinygrad_np import nn
        >>> print(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).summary())
        layer  kind    parameter  shape   count
        0      Linear  weight     (3, 4)     12
        0      Linear  bias       (3,)        3
        1      ReLU    -          -           0
        total                                15
        """
        rows = [("layer", "kind", "parameter", "shape", "count")]
        totals = dict.fromkeys(("buffer", "frozen", "parameter"), 0)
        seen: set[int] = set()
        for path, module in self.named_modules():
            what, own = type(module).__name__, list(module._own_state())
            for name, value, holder, _ in own:
                kind, array = kind_of(value, holder), plain(value)
                if kind:
                    count = 0 if id(value) in seen else array.size
                    seen.add(id(value))
                    totals[kind] += count
                    mark = "" if kind == "parameter" else f" ({kind})"
                    rows.append((path, what, name + mark, str(array.shape), f"{count:,}"))
            if not any(kind_of(v, holder) or isinstance(v, Module) for _, v, holder, _ in own):
                rows.append((path, what, "-", "-", "0"))
        for kind, label in (("buffer", "buffers"), ("frozen", "frozen")):
            if totals[kind]:
                rows.append((label, "", "", "", f"{totals[kind]:,}"))
        rows.append(("total", "", "", "", f"{totals['parameter'] + totals['frozen']:,}"))
        width = max(len(row[-1]) for row in rows)
        return Table([(*row[:-1], row[-1].rjust(width)) for row in rows])

    def _repr_html_(self) -> str:
        return f"<p><b>{type(self).__name__}</b></p>{self.summary()._repr_html_()}"

    def extra_repr(self) -> str:
        """The arguments that ``repr`` shows: the module's sizes."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        inside = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        extra = self.extra_repr()
        if not inside:
            return f"{type(self).__name__}({extra})"
        lines = [f"  {extra}", *inside] if extra else inside
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


def watch_dtype(x: Any, weight: Tensor) -> None:
    """Warn if float64 data makes the results of a float32 layer float64."""
    if graph.INPUTS:  # a derivative is being computed or checked, in float64
        return
    if getattr(x, "dtype", None) == np.float64 and weight.dtype == np.float32:
        warnings.warn(
            "float64 data in a float32 layer: the results become float64, and take twice the time "
            "and memory. Write x.astype(np.float32), or make the layer with dtype=np.float64",
            UserWarning,
            stacklevel=4,
        )


def _say_where(error: Exception, module: Module) -> None:
    """Add a note to an error: the layer where it arose, by its path in the outermost module."""
    layer, earlier = getattr(error, "arose_in", (module, ""))
    path = next((path for path, part in module.named_modules() if part is layer), "")
    where = f" (layer {path!r} of {type(module).__name__})" if path else ""
    note = f"in {type(layer).__name__}({layer.extra_repr()}){where}"
    notes = getattr(error, "__notes__", [])
    if earlier in notes:
        notes[notes.index(earlier)] = note
    else:
        error.add_note(note)
    error.arose_in = layer, note  # type: ignore[attr-defined]


_METHODS = frozenset(name for name, value in vars(Module).items() if callable(value))


def _hidden(kind: type, name: str) -> AttributeError:
    return AttributeError(
        f"{kind.__name__}.{name} would hide the method {name}() of nn.Module: choose another name"
    )


def _named_modules(
    module: Module, path: str, above: tuple[tuple[str, Module], ...]
) -> Iterator[tuple[str, Module]]:
    for name, other in above:
        if other is module:
            raise ValueError(
                f"modules in a circle: {path!r} is {name!r} again"
                if name
                else f"modules in a circle: {path!r} is the module itself, which it is inside of"
            )
    yield path, module
    for name, child in module.children():
        yield from _named_modules(
            child, f"{path}.{name}" if path else name, (*above, (path, module))
        )
