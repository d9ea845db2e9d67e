"""What the errors of the lower floors say, as a table: what is wrong, and what to write instead."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tables import html_table

# Tensors

LOST_LEAF = (
    "{w} {sign}= ... does not change this leaf, a {label}: it makes {w} the name of a new Tensor "
    "that is not a leaf. To update its values, write {w}.data {sign}= ... (with arrays, such as "
    "{w}.grad), or use an optimiser (tg.optim). For a new Tensor, write {w} = {w} {sign} ..."
)
TENSOR_OF_TENSOR = (
    "Tensor(tensor) would silently cut the graph: use tensor.detach(), or Tensor(tensor.data) for "
    "a new leaf"
)
COMPUTED_DATA = (
    "this Tensor was computed: its graph holds the old values, and gradients would be wrong. "
    "Replace the data of leaves only, or work on tensor.detach()"
)
OTHER_DATA = (
    "data of shape {array.shape}, {array.dtype} cannot replace {label}: a Tensor that requires "
    "grad, or that is frozen, keeps its shape and dtype. Make a new Tensor instead"
)
COMPUTED_GRAD = (
    "the {label} was computed, and only leaves collect gradients in .grad: write tg.grad(loss, "
    "tensor) for the gradient of a computed Tensor"
)
TRUE_OR_FALSE = (
    "requires_grad must be True or False, got {value!r}: a dtype is given by name, Tensor(data, "
    "dtype=np.float32)"
)
NOT_FLOATING = (
    "only real floating-point Tensors can require grad, this one is {dtype}: write Tensor(data, "
    "dtype=np.float32, requires_grad=True)"
)
NO_NDARRAY = (
    "a {label} does not turn into an ndarray by itself, because its graph would silently be lost: "
    "write tensor.data (or tensor.detach() to stay a Tensor); to join Tensors, use tg.stack or "
    "tg.concatenate"
)
CUT = (
    "a {label} cannot become {what}: its graph would be cut, and gradients would be wrong. Write "
    "tensor.item() for a plain number, or tensor.detach() for a constant; functions of Tensors are "
    "tg.cos(t), tg.where(mask, t, other), tg.stack([t, ...]) (not math.cos, array[mask] = t)"
)
SET_ITEM = (
    "a Tensor cannot be changed in place, its graph may need the old values: use tg.where(mask, "
    "value, tensor), or write to a leaf's array, tensor.data[index] = value"
)
MASKED = (
    "a Tensor has no mask, and that of the MaskedArray would be lost: write "
    "Tensor(masked.filled(0)), or Tensor(masked.data) with tg.where(masked.mask, 0, tensor)"
)
NO_GRADIENTS = (
    "no graph leads to this {tensor}: it is of dtype {dtype}; only real floating-point Tensors "
    "have gradients"
)
NO_GRAPH = (
    "no graph leads to this {tensor}: neither it nor anything it was computed from requires grad "
    "(or it was computed inside no_grad()). Make a leaf with Tensor(data, requires_grad=True)"
)
NOT_SCALAR = (
    "the non-scalar {tensor} needs a gradient of the same shape to start from: write "
    "y.backward(gradient), or reduce first, e.g. y.sum().backward()"
)

# The graph

CONSUMED = (
    "the graph was already consumed: a backward pass through {op!r} (output shape {shape}) has "
    "released its arrays. Run the forward pass again, or pass retain_graph=True to the first "
    "backward pass."
)

# Arrays that changed between the forward and the backward pass

REFILLED = "Copy a buffer before you fill it again (array.copy())"
UPDATED = (
    "An optimiser has updated it: call backward() before optimizer.step(), or compute the loss "
    "again"
)
WRITTEN_TO = (
    "It was written to through tensor.data: do that after backward(), or write to a copy "
    "(tensor.data.copy())"
)

# The definition of an op

NO_FUNCTION = (
    "{forward!r} is not a Python function, whose parameters could be read: write one around it, or "
    "use tg.ufunc for a ufunc"
)
NAME_TAKEN = (
    "an op called {op.name!r} is defined in {origin} already: choose another name, or remove the "
    "old one with `del tg.OPS[name]`"
)
NO_CASES = (
    "op {op.name!r} has no cases: give a list of at least one sample call, "
    "cases=[case(normal(3))], so that its gradient can be checked"
)
NO_CASE = (
    "op {op.name!r}: cases[{i}] is a {kind}, not a case: write case(...) around the arguments of "
    "the call, cases=[case(normal(3))]"
)
MISFIT_CASE = "op {op.name!r}: cases[{i}], case({sample}), does not fit its parameters ({names})"
ONE_RULE = "op {op.name!r} takes *{op.variadic}: it needs one rule, for these"
NO_RULE = (
    "op {op.name!r}: the rule for {name!r} must be a Python function whose first argument is the "
    "output's gradient, {name}=lambda g, ...: ..., got {found}"
)

# The call of an op

NO_RULES = (
    "op {name!r} has no gradient rules, and its input requires grad: give it one rule per input, "
    "e.g. @tg.op(cases=..., x=lambda g, x: ...), or say that its gradient is zero everywhere, "
    "constant=True"
)
A_CONSTANT = (
    "{op.name} has no gradient with respect to {name!r}, but the Tensor given for it requires "
    "grad: pass {name}.detach() if you mean a constant"
)
NOT_REAL_RESULT = (
    "{op.name} gives {what} numbers, {dtype}: gradients are for real ones only. Use "
    "tensor.detach() where no gradient is needed"
)

# The rules of a graph


def unclear(op: Any, name: str, read: str, known: list[str]) -> str:
    """For a rule with an argument that an op does not have, or has twice."""
    what = f"op {op.name!r}: the rule for {name!r} reads {read!r}"
    return f"{what}, which is none, or more than one, of {', '.join(known)}"


def rule_of(node: Any, parent: Any) -> str:
    """The op whose rule it is, and for which of its inputs."""
    places = [i for i, other in enumerate(node.parents) if other is parent]
    names = " or ".join([_input_name(node, place) for place in places])
    return f"the gradient rule of op {node.op.name!r} for its input {names} of shape {parent.shape}"


def _input_name(node: Any, place: int) -> str:
    """An input's number, and what the op calls it."""
    inputs = getattr(node.op, "inputs", ())
    variadic = getattr(node.op, "variadic", None)
    return f"{place} ({inputs[place]})" if inputs and not variadic else str(place)


def raised(node: Any, parent: Any) -> str:
    """A note for an error inside a rule."""
    return f"raised by {rule_of(node, parent)}; its output is {node.shape}"


def not_an_array(part: Any, node: Any, parent: Any) -> str:
    """For a rule that did not return an array."""
    found = "None" if part is None else f"a {type(part).__name__}"
    return (
        f"{rule_of(node, parent)} returned {found}: it must return an array of the shape of the "
        "input or of the output (zeros where there is no gradient)"
    )


def not_real(part: Any, node: Any, parent: Any) -> str:
    """For a rule that returned complex numbers, or none."""
    return (
        f"{rule_of(node, parent)} returned an array of dtype {part.dtype}: the gradient of a real "
        "input is real (take its real part with .real, if you mean that)"
    )


def changed(node: Any, saved: Any, place: int, advice: str) -> str:
    """For an array that changed between the forward and the backward pass."""
    inside, array = place < len(node.parents), saved[place]
    what = f"input {_input_name(node, place)}" if inside else "the output"
    named = node.parents[place] if inside else node
    name = f" {named.name!r}" if named is not None and named.name else ""
    return (
        f"{what}{name} of op {node.op.name!r}, an array of shape {array.shape}, {array.dtype}, has "
        f"changed since the forward pass: the gradient would be wrong. {advice}."
    )


# What an op is given, and what it returns


def not_an_operand(op: Any, name: str, value: Any) -> str:
    """For an operand that is not an array of numbers, or that would lose its meaning."""
    kind = type(value).__name__
    if isinstance(value, np.ma.MaskedArray):
        found = "a MaskedArray: its mask would be lost. Use tg.where(mask, value, array.data)"
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        found = (
            f"a {kind}, a subclass of ndarray whose behaviour would be lost. Pass "
            "np.asarray(value) if you mean that"
        )
    elif isinstance(value, np.ndarray | np.generic):
        found = f"an array of dtype {value.dtype}"
    else:
        found = f"a {kind} of dtype {value.dtype}" if hasattr(value, "dtype") else repr(value)
    return f"{op.name}: {name} must be a Tensor, an array or a number, got {found}"


def not_a_result(op: Any, out: Any) -> str:
    """For a forward function that did not return one array of numbers."""
    kind = type(out).__name__
    if isinstance(out, tuple | list):
        return (
            f"{op.name} returned a {kind} of {len(out)}: an op has one result, an array. Define "
            "one op for each, or join them in one array (np.stack)"
        )
    if hasattr(out, "node"):
        return (
            f"{op.name}: its function returned a Tensor with a graph of its own, which would be "
            "lost: pass what it uses as an argument, or make it a tg.composite"
        )
    found = "None" if out is None else f"a {kind} of dtype {np.asarray(out).dtype}"
    return f"{op.name} gives no numbers: it returned {found}"


# NumPy's functions


def into_an_array(function: Any) -> str:
    """For a ufunc that is asked to write a result computed from a Tensor into an array."""
    return (
        f"{_full_name(function)} cannot write its result into an array where a Tensor takes part "
        "(array += tensor does that too): the graph would be lost. Write array = array + tensor, "
        "or use tensor.data"
    )


def no_gradient(function: Any, method: str = "") -> str:
    """For one of NumPy's functions that no op stands for."""
    own = isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is not function
    return (
        f"{_full_name(function)}{method} has no gradient here: use one of tg.OPS, or tensor.data "
        f"where no gradient is needed{'; tg.ufunc makes an op of it' if own else ''}"
    )


def _full_name(function: Any) -> str:
    """``np.exp``; ``ufunc 'erf'`` for a ufunc of another library, which does not tell its own."""
    name: str = function.__name__
    if isinstance(function, np.ufunc):
        return f"np.{name}" if getattr(np, name, None) is function else f"ufunc {name!r}"
    return f"{(getattr(function, '__module__', None) or 'numpy').replace('numpy', 'np')}.{name}"


# What is printed


def shown(tensor: Any) -> str:
    """A Tensor as Python shows it."""
    body = np.array2string(tensor.array, separator=", ", prefix="Tensor(", threshold=50)
    facts = [f"shape={tensor.shape}"] if tensor.ndim else []
    facts.append(f"dtype={tensor.dtype}" if facts else f"{tensor.dtype}")
    if tensor.name:
        facts.append(f"name={tensor.name!r}")
    if tensor.node is not None:
        facts.append("requires_grad" if tensor.is_leaf else f"op={tensor.node.op.name}")
    if tensor.is_frozen:
        facts.append("frozen")
    return f"Tensor({body}, {', '.join(facts)})"


def definition_table(op: Any) -> str:
    """An op's definition as a notebook shows it."""
    doc = (op.function.__doc__ or "").strip().partition("\n")[0]
    return html_table(
        [("gradient", "rule"), *[(f"d{name}", op.formula(name)) for name in op.gradients]],
        before=[f"{op.name}({', '.join(op.parameters)}): {doc}"],
        after=[f"{len(op.cases)} sample calls, from which its checks are made"],
    )


def failed(op: Any, error: Exception, arguments: dict[str, Any]) -> str:
    """For an op whose forward function raised an error: which op, and its arguments."""
    lines = [f"{op.name}: {error}"]
    for name in op.parameters:
        value = arguments[name]
        shape = getattr(value, "shape", None)
        told = repr(value) if shape is None else f"{value.dtype} of shape {shape}"
        lines.append(f"    {name}: {told if len(told) < 200 else told[:200] + ' …'}")
    return "\n".join(lines)
