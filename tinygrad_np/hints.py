"""Advice for names that do not exist here: from PyTorch's names to NumPy's and ours.

The tables are used only in error messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

KEYWORDS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}
"""Arguments of functions."""

ATTRIBUTES = {
    "view": "x.reshape(2, 3)",
    "permute": "x.transpose(0, 2, 1)",
    "t": "x.T",
    "unsqueeze": "tg.expand_dims(x, 0)",
    "expand": "tg.broadcast_to(x, shape)",
    "numel": "x.size",
    "dim": "x.ndim",
    "clone": "x + 0 (a copy in the graph), or x.data.copy()",
    "to": "x.astype(np.float32) for another dtype (there are no devices)",
    "type": "x.astype(np.float32)",
    "float": "x.astype(np.float32)",
    "double": "x.astype(np.float64)",
    "half": "x.astype(np.float16)",
    "long": "x.astype(np.int64)",
    "int": "x.astype(np.int64)",
    "bool": "x.astype(bool)",
    "mm": "x @ y",
    "bmm": "x @ y",
    "matmul": "x @ y",
    "mul": "x * y",
    "add": "x + y",
    "sub": "x - y",
    "div": "x / y",
    "pow": "x**y",
    "masked_fill": "tg.where(mask, value, x)",
    "gather": "tg.take_along_axis(x, indices, axis)",
    "scatter_add": "tg.add_at(x, index, y)",
    "index_select": "x.take(indices, axis)",
    "flip": "tg.flip(x, axis)",
    "norm": "tg.norm(x)",
    "chunk": "x[:n], x[n:]",
    "requires_grad_": "x.requires_grad = True",
    "detach_": "x.detach()",
    "retain_grad": "tg.grad(loss, x), which gives the gradient of a computed Tensor",
}
"""Attributes and methods of Tensors."""

NAMES = {
    "tensor": "tg.Tensor([1.0, 2.0])",
    "from_numpy": "tg.Tensor(array)",
    "as_tensor": "tg.Tensor(array)",
    "zeros": "tg.Tensor(np.zeros(shape))",
    "ones": "tg.Tensor(np.ones(shape))",
    "randn": "tg.Tensor(rng.normal(size=shape)), with rng = np.random.default_rng(0)",
    "rand": "tg.Tensor(rng.random(shape)), with rng = np.random.default_rng(0)",
    "arange": "tg.Tensor(np.arange(n))",
    "float32": "np.float32",
    "float64": "np.float64",
    "cat": "tg.concatenate([x, y], axis=0)",
    "mm": "x @ y",
    "bmm": "x @ y",
    "mul": "x * y",
    "pow": "x**y",
    "permute": "tg.transpose(x, axes)",
    "unsqueeze": "tg.expand_dims(x, 0)",
    "clamp": "tg.clip(x, low, high)",
    "gather": "tg.take_along_axis(x, indices, axis)",
    "masked_fill": "tg.where(mask, value, x)",
    "F": "tg.relu(x): the functions of torch.nn.functional are in tg itself",
    "functional": "tg.relu(x): the functions of torch.nn.functional are in tg itself",
    "Parameter": "tg.Tensor(array, requires_grad=True)",
    "set_grad_enabled": "tg.no_grad() or tg.enable_grad()",
    "inference_mode": "tg.no_grad()",
    "autograd": "tg.grad(loss, [w])",
    "utils": "tg.data.batches(...) for batches, tg.optim.clip_grad_norm(...) for clipping",
    "jit": "tg.compile(step)",
    "numpy": "import numpy as np: NumPy's functions take Tensors",
}
"""Names of the package and of ``tg.nn``."""

NEEDLESS = frozenset(["cpu", "cuda", "device", "is_cuda", "contiguous", "pin_memory", "inplace"])
"""Names without a counterpart, because Tensors are NumPy arrays in main memory."""


def of_attribute(name: str) -> str:
    """The message for an attribute that a Tensor does not have.

    >>> from tinygrad_np.hints import of_attribute
    >>> of_attribute("view")
    "a Tensor has no attribute 'view': write x.reshape(2, 3)"
    """
    return f"a Tensor has no attribute {name!r}{_advice(name, ATTRIBUTES)}"


def of_name(module: str, name: str) -> str:
    """The message for a name that a module of the package does not have.

    >>> from tinygrad_np.hints import of_name
    >>> of_name("tinygrad_np", "cat")
    "module 'tinygrad_np' has no attribute 'cat': write tg.concatenate([x, y], axis=0)"
    """
    return f"module {module!r} has no attribute {name!r}{_advice(name, NAMES)}"


def _advice(name: str, words: Mapping[str, str]) -> str:
    if name in NEEDLESS:
        return ": leave it out, Tensors are NumPy arrays in main memory"
    return f": write {words[name]}" if name in words else ""


def of_keywords(function: str, unknown: Mapping[str, object], known: Iterable[str]) -> str:
    """The message for arguments that a function does not take.

    >>> from tinygrad_np.hints import of_keywords
    >>> of_keywords("sum", {"dim": 0}, ["x", "axis", "keepdims"])
    "sum() takes no argument 'dim': write axis=0 (the arguments are x, axis, keepdims)"
    """
    name, value = next(iter(unknown.items()))
    known = list(known)
    words = {name: f"{KEYWORDS[name]}={value!r}"} if KEYWORDS.get(name) in known else {}
    advice = _advice(name, words)
    return f"{function}() takes no argument {name!r}{advice} (the arguments are {', '.join(known)})"
