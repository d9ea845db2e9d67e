"""The functions people call: generated for each op, as dataclasses generate ``__init__``.

One op call has to cost less than a microsecond over NumPy's own, and a function with the op's true
signature, no *args and no loops over them, is what that takes (half the time of a general one). To
compile one takes 0.3 ms, so that this waits for the first call: 100 ops would double the import
time.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from .changes import SMALL, UNCHANGING, frozen, handed_out, kept, sample_of
from .graph import Node, recording
from .hints import of_keywords
from .tensor import Array, Tensor, TensorFunction, still_to_be_used, wrap
from .tracing import Traced


def make_function(record: Any, readers: dict[str, list[str]]) -> TensorFunction:
    """The function of an ``Op``, whose code is compiled when it is first called.

    ``readers`` names, for each input and for ``out``, the inputs whose rules read it.
    """
    namespace = {**_TOOLS, "_op": record, "_forward": record.forward}

    def compile_code() -> None:
        exec(_source(record, readers), namespace)
        code = namespace["call"].__code__
        function.__code__ = code.replace(co_name=record.name, co_qualname=record.name)

    namespace["_compile"] = compile_code
    stub = _first_call.__code__.replace(co_name=record.name, co_qualname=record.name)
    defaults = getattr(record.forward, "__defaults__", None)
    function = types.FunctionType(stub, namespace, None, defaults)
    function.__kwdefaults__ = getattr(record.forward, "__kwdefaults__", None)
    return function


def _first_call(*args: Any, **kwargs: Any) -> Any:
    _compile()  # type: ignore[name-defined]  # noqa: F821  # both names are in the op's namespace
    return _op.function(*args, **kwargs)  # type: ignore[name-defined]  # noqa: F821


def _source(record: Any, readers: dict[str, list[str]]) -> str:
    """The Python text of an op's function. Names of its own begin with an underscore."""
    parameters, variadic = record.parameters, record.variadic
    inputs = () if variadic else record.inputs
    positional = getattr(getattr(record.forward, "__code__", None), "co_argcount", len(parameters))
    star = [f"*{variadic}"] if variadic else ["*"] if positional < len(parameters) else []
    signature = [*parameters[:positional], *star, *parameters[positional:]]
    keywords = [f"{name}={name}" for name in parameters[positional:]]
    call = [*parameters[:positional], *star[: bool(variadic)], *keywords]
    if "axis" in parameters:  # PyTorch's dim=, the commonest slip: 20 ns a call to tell it
        signature.append("**_unknown")
    given = (record.function.__defaults__ or ())[::-1]
    defaults = dict(zip(parameters[:positional][::-1], given, strict=False))
    defaults |= record.function.__kwdefaults__ or {}
    lines = ["if _unknown: _refuse(_op, _unknown)"] if "**_unknown" in signature else []
    for name in parameters:
        if name in inputs:
            or_none = f" or {name} is None" if defaults.get(name, name) is None else ""
            real = f"_type({name}) is _ndarray and {name}.dtype in _REAL"
            lines += [
                f"if _type({name}) is _Tensor: _node_{name} = {name}.node; {name} = {name}.array",
                f"elif {real}{or_none}: _node_{name} = None",
                f"else: _node_{name} = None; {name} = _operand(_op, {name!r}, {name})",
            ]
        else:
            lines.append(f"if _type({name}) is _Tensor: {name} = _constant(_op, {name!r}, {name})")
    if record.ruleless:
        lines.insert(0, f"_nodes, _arrays = _givens(({', '.join(parameters)},))")
    elif variadic:
        lines += [
            f"_nodes = _tuple([x.node if _type(x) is _Tensor else None for x in {variadic}])",
            f"{variadic} = _tuple([x.array if _type(x) is _Tensor else "
            f"_operand(_op, {variadic!r}, x) for x in {variadic}])",
        ]
    op = "_op"
    looks: list[str] = []
    extra_looks: list[str] = []
    if record.ruleless:
        op, recorded, nodes, operands = "_op.ruleless", "_nodes", "_nodes", "_arrays"
        saved = ["*[None] * len(_nodes)"]
    elif variadic:
        recorded, nodes, operands = "_any(_nodes)", "_nodes", variadic
        reads = bool(readers[variadic])
        saved = [f"*[{_copied('x')} for x in {variadic}]" if reads else "*[None] * len(_nodes)"]
        if reads:
            looks = [f"if None in _nodes: _look_at_all(_node, {variadic})"]
    else:
        recorded = _any_node(inputs) or "False"
        nodes, operands = (
            f"({''.join(f'{prefix}{name}, ' for name in inputs)})" for prefix in ("_node_", "")
        )
        saved = [_saved(name, readers[name], inputs) for name in inputs]
        looks = [
            f"if _node_{name} is None and _type({name}) is _ndarray: "
            f"_look_at(_node, {place}, {name})"
            for place, name in enumerate(inputs)
            if readers[name] and len(inputs) > 1
        ]
    saved.append(_copied("_out") if readers["out"] else "None")
    for extra in record.extras:
        base = extra.removesuffix("_shape")
        if record.residual and extra == record.residual[0]:
            saved.append("_residual")
        elif base == variadic:
            saved.append(f"_tuple([x.shape for x in {variadic}])")
        elif base in inputs and base != extra:
            saved.append(f"{base}.shape")
        else:
            extra_looks.append(
                f"if _type({extra}) is _ndarray: "
                f"_node.originals += (({len(saved)}, _ref({extra})),)"
            )
            copied = f"{extra}.copy() if _type({extra}) is _ndarray else _frozen({extra})"
            saved.append(f"{extra} if _type({extra}) in _UNCHANGING else {copied}")
    body = "\n    ".join(lines)
    records = "".join([f"\n                {line}" for line in extra_looks])
    look = "".join([f"\n            {line}" for line in looks])
    return f"""
def call({", ".join(signature)}):
    {body}
    try:
        {"_out, _residual" if record.residual else "_out"} = _forward({", ".join(call)})
    except Exception as error:
        _failed(_op, error, _dict({", ".join(f"{name}={name}" for name in parameters)}))
    if _type(_out) is not _ndarray: _out = _result(_op, _out)
    if {recorded}:
        _mode = _recording()
        _dtype = _out.dtype
        if _mode and (_dtype in _REAL or _is_real(_op, _dtype)):
            _node = _Node({op}, {nodes}, ({", ".join(saved)},), _out.shape, _dtype){look}
            if _mode is not True:{records}
                _mode.observe(_node, {operands}, _out)
            return _wrap(_out, _node)
    return _wrap(_out, None)
"""


def _any_node(inputs: Sequence[str]) -> str:
    return " or ".join([f"_node_{name}" for name in inputs])


def _saved(name: str, readers: Sequence[str], inputs: Sequence[str]) -> str:
    """An input as the graph saves it: only if a rule will run that reads it."""
    if len(readers) == len(inputs):
        return _copied(name)
    return f"{_copied(name)} if {_any_node(readers)} else None" if readers else "None"


def _copied(name: str) -> str:
    """An array as the graph saves it, so that nobody changes it (see ``changes.py``)."""
    return (
        f"({name} if _type({name}) is not _ndarray else {name}.copy('K') "
        f"if {name}.nbytes <= {SMALL} else {name} if not _handed_out else _kept({name}))"
    )


def _look_at(node: Node, place: int, array: Array) -> None:
    """Keep a sample of a large constant that a node has saved, and where constants are."""
    saved = node.saved[place]  # type: ignore[index]
    if saved is array:
        node.samples += (sample_of(place, array),)
        node.originals += ((place, weakref.ref(array)),)
    elif saved is not None:
        node.originals += ((place, array),)


def _look_at_all(node: Node, operands: Sequence[Any]) -> None:
    """The same for each constant among a variadic op's operands."""
    for place, (array, parent) in enumerate(zip(operands, node.parents, strict=False)):
        if parent is None and type(array) is np.ndarray:
            _look_at(node, place, array)


def _givens(values: Sequence[Any]) -> tuple[tuple[Node, ...], tuple[Any, ...]]:
    """The Tensors that require grad among an op's arguments: their nodes and arrays."""
    found = [v for v in values if type(v) is Tensor and v.node is not None]
    return tuple([v.node for v in found if v.node is not None]), tuple([v.array for v in found])


def _operand(record: Any, name: str, value: Any) -> Any:
    """An input that is no Tensor, as the forward function gets it; TypeError if it is no number."""
    kind, found = type(value), ""
    if kind is np.ndarray or isinstance(value, np.generic | np.memmap | np.matrix):
        if value.dtype.kind in "fiubc":
            return value if isinstance(value, np.generic) else np.asarray(value)
        found = f"an array of dtype {value.dtype}"
    elif kind in _NUMBERS:
        return value if record.weak else np.asarray(value)
    elif isinstance(value, list | tuple):
        return np.asarray(value)
    elif isinstance(value, Traced):
        return value
    elif isinstance(value, np.ma.MaskedArray):
        found = "a MaskedArray: its mask would be lost. Use tg.where(mask, value, array.data)"
    elif isinstance(value, np.ndarray):
        found = (
            f"a {kind.__name__}, a subclass of ndarray whose behaviour would be lost. "
            "Pass np.asarray(value) if that is meant"
        )
    elif hasattr(value, "dtype"):
        found = f"a {kind.__name__} of dtype {value.dtype}"
    raise TypeError(
        f"{record.name}: {name} must be a Tensor, an array or a number, got {found or repr(value)}"
    )


_NUMBERS = frozenset([int, float, bool, complex])


def _refuse(record: Any, unknown: dict[str, Any]) -> NoReturn:
    """Arguments that the op does not have."""
    raise TypeError(of_keywords(record.name, unknown, record.parameters))


def _constant(record: Any, name: str, value: Tensor) -> Any:
    """A Tensor given for something that has no gradient: its array."""
    if value.requires_grad and record.differentiable:
        raise TypeError(
            f"{record.name} has no gradient with respect to {name!r}, but the Tensor given for it "
            f"requires grad: pass {name}.detach() if it is meant as a constant"
        )
    return value.array


def _result(record: Any, out: Any) -> Any:
    """What an op's function returned, as an array; TypeError if it is none."""
    if isinstance(out, Traced):
        return out
    if isinstance(out, tuple | list):
        raise TypeError(
            f"{record.name} returned a {type(out).__name__} of {len(out)}: an op has one result, "
            "an array. Define one op for each, or join them in one array (np.stack)"
        )
    if isinstance(out, Tensor):
        if still_to_be_used(out.node):
            raise TypeError(
                f"{record.name}: its function returned a Tensor with a graph of its own, which "
                "would be lost: pass what it uses as an argument, or make it a tg.composite"
            )
        return out.array
    array = np.asarray(out)
    if array.dtype.kind not in "fiubc":
        found = "None" if out is None else f"a {type(out).__name__} of dtype {array.dtype}"
        raise TypeError(f"{record.name} gives no numbers: it returned {found}")
    return array


def _is_real(record: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a result has a gradient: integers and booleans are constants, others an error."""
    kind = dtype.kind
    if kind not in "fiub":
        raise TypeError(
            f"{record.name} gives {'complex' if kind == 'c' else 'no'} numbers, {dtype}: gradients "
            "are for real ones only. Use tensor.detach() where no gradient is needed"
        )
    return bool(kind == "f")


def _failed(record: Any, error: Exception, arguments: dict[str, Any]) -> NoReturn:
    """Say which op failed, and on what."""
    lines = [f"{record.name}: {error}"]
    for name, value in arguments.items():
        shape = getattr(value, "shape", None)
        told = repr(value) if shape is None else f"{value.dtype} of shape {shape}"
        lines.append(f"    {name}: {told if len(told) < 200 else told[:200] + ' …'}")
    kind = type(error)
    if kind in (ValueError, TypeError, IndexError, np.linalg.LinAlgError, np.exceptions.AxisError):
        raise kind("\n".join(lines)) from error
    if isinstance(error, TypeError):  # NumPy's own subclasses take other arguments
        raise TypeError("\n".join(lines)) from error
    error.add_note("\n".join(lines))
    raise error


_TOOLS: dict[str, Any] = {
    "_Tensor": Tensor, "_Node": Node, "_ndarray": np.ndarray, "_result": _result,
    "_kept": kept, "_frozen": frozen, "_handed_out": handed_out, "_UNCHANGING": UNCHANGING,
    "_look_at": _look_at, "_look_at_all": _look_at_all, "_ref": weakref.ref, "_givens": _givens,
    "_wrap": wrap, "_recording": recording.get, "_operand": _operand, "_constant": _constant,
    "_is_real": _is_real, "_failed": _failed, "_refuse": _refuse,
    "_type": type, "_tuple": tuple, "_any": any, "_dict": dict,  # parameters may be called so
    "_REAL": frozenset([np.dtype(np.float32), np.dtype(np.float64)]),
}  # fmt: skip
