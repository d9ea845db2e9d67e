"""The functions that people call: generated for each op, as dataclasses generate ``__init__``.

Generated code buys speed: a function with the op's own signature and without loops adds less than a
microsecond to NumPy's call. A general function with ``*args`` adds 80% more, closures for one and
two operands add 5% more. A training step of the three-layer network, without compile, already takes
1.1 to 1.2 times as long as hand-written NumPy. Compiling a function takes 0.3 ms and waits for its
first call, because it would double the time of the import.
"""

from __future__ import annotations

import itertools
import types
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.exceptions import AxisError
from numpy.linalg import LinAlgError

from . import messages
from .arrays import Array, Traced
from .changes import SMALL, UNCHANGING, copied, kept, sample_of
from .graph import Node, recording, still_to_be_used
from .hints import of_keywords
from .tensor import Tensor, TensorFunction, wrap


def make_function(op: Any, readers: dict[str, list[str]]) -> TensorFunction:
    """The function of an ``Op``. Its code is compiled when it is first called.

    ``readers`` maps each input, and ``out``, to the inputs whose rules read it.
    """
    graph_op = op if op.gradients else _without_rules(op.name)
    namespace = {**_TOOLS, "_op": op, "_graph_op": graph_op, "_forward": op.forward}

    def first_call(*args: Any, **kwargs: Any) -> Any:
        exec(_source(op, readers), namespace)
        function.__code__ = namespace["call"].__code__.replace(**named)
        return function(*args, **kwargs)

    namespace["_first_call"] = first_call
    named = {"co_name": op.name, "co_qualname": op.name}
    defaults = getattr(op.forward, "__defaults__", None)
    function = types.FunctionType(_stub.__code__.replace(**named), namespace, None, defaults)
    function.__kwdefaults__ = getattr(op.forward, "__kwdefaults__", None)
    return function


def _stub(*args: Any, **kwargs: Any) -> Any:
    return _first_call(*args, **kwargs)  # type: ignore[name-defined]  # noqa: F821


def _source(op: Any, readers: dict[str, list[str]]) -> str:
    """The source of an op's function. Names that are not the op's begin with an underscore."""
    many, inputs = op.variadic, () if op.variadic else op.inputs
    if many:
        recorded, nodes, operands = "_any(_nodes)", "_nodes", many
        saved = [f"*[{_kept('x') if readers[many] else None} for x in {many}]"]
        notes = [f"_note_all(_node, {many})"] if readers[many] else []
    elif not op.gradients and not op.constant:
        recorded, notes, saved = "_given", [], ["*[None for _ in _given]"]
        nodes, operands = [f"_tuple([x.{own} for x in _given])" for own in ("node", "array")]
    else:
        recorded = _any_node(inputs) or "False"
        nodes, operands = _tuple([f"_node_{name}" for name in inputs]), _tuple(inputs)
        saved = [_saved(name, readers[name], inputs) for name in inputs]
        notes = [
            f"if _node_{name} is None and _type({name}) is _ndarray: _note(_node, {i}, {name})"
            for i, name in enumerate(inputs)
            if readers[name] and len(inputs) > 1
        ]
    extras = [_extra(op, name) for name in op.extras]
    saved.append(_kept("_out") if readers["out"] else "None")
    saved += [_copied(extra) if extra in op.parameters else extra for extra in extras]
    signature, call, unwrap = _signature(op)
    unwrapped, noted = "\n    ".join(unwrap), "\n            ".join(notes)
    return f"""
def call({", ".join(signature)}):
    {unwrapped}
    try:
        {"_out, _residual" if op.residual else "_out"} = _forward({", ".join(call)})
    except Exception as error:
        _failed(_op, error, _locals())
    if _type(_out) is not _ndarray: _out = _result(_op, _out)
    if {recorded}:
        _mode = _recording()
        _dtype = _out.dtype
        if _mode and (_dtype in _REAL or _is_real(_op, _dtype)):
            _node = _Node(_graph_op, {nodes}, {_tuple(saved)}, _out.shape, _dtype)
            if _mode is not True:
                _note_all(_node, (*{operands}, {", ".join(["None", *extras])}))
                _mode.observe(_node, {operands}, _out)
                return _wrap(_out, _node)
            {noted}
            return _wrap(_out, _node)
    return _wrap(_out, None)
"""


def _signature(op: Any) -> tuple[list[str], list[str], list[str]]:
    """Parameters of the function, arguments of the forward function, and lines between them."""
    first, last = op.parameters[: op.positional], op.parameters[op.positional :]
    many, star = op.variadic, [f"*{op.variadic}"] if op.variadic else []
    signature = [*first, *(star or ["*"] * bool(last)), *last]
    unwrap = []
    if "axis" in op.parameters:  # advice for PyTorch's dim=, the commonest slip: 20 ns a call
        signature.append("**_unknown")
        unwrap.append("if _unknown: _refuse(_op, _unknown)")
    if not op.gradients and not op.constant:
        unwrap.append(
            f"_given = [x for x in {_tuple(op.parameters)} if _type(x) is _Tensor and x.node]"
        )
    for name in op.parameters:
        tensor = f"if _type({name}) is _Tensor:"
        if name in op.inputs:
            given = f"{name} is not None and " if op.defaults.get(name, 0) is None else ""
            unwrap += [
                f"_node_{name} = None",
                f"{tensor} _node_{name} = {name}.node; {name} = {name}.array",
                f"elif {given}not (_type({name}) is _ndarray and {name}.dtype in _REAL): "
                f"{name} = _operand(_op, {name!r}, {name})",
            ]
        else:
            unwrap.append(f"{tensor} {name} = _constant(_op, {name!r}, {name})")
    if many:
        unwrap += [
            f"_nodes = _tuple([x.node if _type(x) is _Tensor else None for x in {many}])",
            f"{many} = _tuple([x.array if _type(x) is _Tensor else _operand(_op, {many!r}, x) "
            f"for x in {many}])",
        ]
    return signature, [*first, *star, *[f"{name}={name}" for name in last]], unwrap


def _extra(op: Any, name: str) -> str:
    """A value that rules read besides inputs and output: a parameter, a shape, or the residual."""
    base = name.removesuffix("_shape")
    if base == name or base not in op.inputs:
        return name if name in op.parameters else "_residual"
    return f"_tuple([x.shape for x in {base}])" if op.variadic else f"{base}.shape"


def _tuple(items: Iterable[str]) -> str:
    return f"({''.join([f'{item}, ' for item in items])})"


def _any_node(inputs: Sequence[str]) -> str:
    return " or ".join([f"_node_{name}" for name in inputs])


def _saved(name: str, readers: Sequence[str], inputs: Sequence[str]) -> str:
    """An input as the graph saves it: only if a rule that reads it will run."""
    some = f" if {_any_node(readers)} else None" if len(readers) < len(inputs) else ""
    return _kept(name) + some if readers else "None"


# The common cases are written out, because a call costs 50 ns.


def _kept(name: str) -> str:
    large = f"{name}.copy('K') if {name}.nbytes <= {SMALL} else _kept({name})"
    return f"({name} if _type({name}) is not _ndarray else {large})"


def _copied(name: str) -> str:
    return f"{name} if _type({name}) in _UNCHANGING else _copied({name})"


def _note(node: Node, place: int, constant: Array) -> None:
    """Note a constant among a node's saved values: where it is, and a sample if it is large."""
    saved = node.saved[place]  # type: ignore[index]
    if saved is constant:
        node.samples += (sample_of(place, constant),)
    if saved is not None:
        found = constant if constant.nbytes <= SMALL else weakref.ref(constant)
        node.originals += ((place, found),)


def _note_all(node: Node, values: Sequence[Any]) -> None:
    """``_note`` for each array among operands and settings that has no node."""
    for place, (value, parent) in enumerate(itertools.zip_longest(values, node.parents)):
        if parent is None and type(value) is np.ndarray:
            _note(node, place, value)


def _without_rules(name: str) -> Any:
    """Stands in the graph for an op without gradient rules. A backward pass through it raises."""

    def refuse(g: Any, saved: Any) -> NoReturn:
        raise TypeError(messages.NO_RULES.format(name=name))

    return types.SimpleNamespace(name=name, rules=itertools.repeat(refuse))


def _operand(op: Any, name: str, value: Any) -> Any:
    """An input that is not a Tensor, as the forward function gets it; TypeError if not numeric."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic | np.memmap | np.matrix):
        if value.dtype.kind in "fiubc":
            return value if isinstance(value, np.generic) else np.asarray(value)
    elif kind in (int, float, bool, complex):
        return value if op.weak else np.asarray(value)
    elif isinstance(value, list | tuple):
        return np.asarray(value)
    elif isinstance(value, Traced):
        return value
    raise TypeError(messages.not_an_operand(op, name, value))


def _refuse(op: Any, unknown: dict[str, Any]) -> NoReturn:
    """TypeError for arguments that the op does not have."""
    raise TypeError(of_keywords(op.name, unknown, op.parameters))


def _constant(op: Any, name: str, value: Tensor) -> Any:
    """The array of a Tensor that is given for a parameter without a gradient."""
    if value.requires_grad and op.differentiable:
        raise TypeError(messages.A_CONSTANT.format(op=op, name=name))
    return value.array


def _result(op: Any, out: Any) -> Any:
    """The result of a forward function as an array; TypeError if it is not one."""
    if isinstance(out, Traced):
        return out
    if isinstance(out, Tensor) and not still_to_be_used(out.node):
        return out.array
    if not isinstance(out, tuple | list | Tensor):
        array = np.asarray(out)
        if array.dtype.kind in "fiubc":
            return array
    raise TypeError(messages.not_a_result(op, out))


def _is_real(op: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a result has a gradient. Integers and booleans have none; others raise TypeError."""
    if dtype.kind not in "fiub":
        what = "complex" if dtype.kind == "c" else "no"
        raise TypeError(messages.NOT_REAL_RESULT.format(op=op, what=what, dtype=dtype))
    return dtype.kind == "f"


def _failed(op: Any, error: Exception, arguments: dict[str, Any]) -> NoReturn:
    """Raise an error of the forward function again, with the op and its arguments in the text."""
    message = messages.failed(op, error, arguments)
    # NumPy's own kinds of TypeError take other arguments.
    kind = TypeError if isinstance(error, TypeError) else type(error)
    if kind in (TypeError, ValueError, IndexError, LinAlgError, AxisError):
        raise kind(message) from error
    error.add_note(message)
    raise error


_TOOLS: dict[str, Any] = {
    "_Tensor": Tensor, "_Node": Node, "_ndarray": np.ndarray, "_kept": kept, "_copied": copied,
    "_note": _note, "_note_all": _note_all, "_operand": _operand, "_constant": _constant,
    "_result": _result, "_is_real": _is_real, "_refuse": _refuse, "_failed": _failed,
    "_wrap": wrap, "_recording": recording.get, "_UNCHANGING": UNCHANGING,
    "_REAL": frozenset([np.dtype(np.float32), np.dtype(np.float64)]),
    "_type": type, "_tuple": tuple, "_any": any, "_locals": locals,  # parameters may be called so
}  # fmt: skip
