"""The names of the values of a derivation, and which outputs are part of their reader's line."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ..compiler.program import Call, Value
from ..graph import Node
from .naming import Namer, input_word
from .textbook import added_up
from .writer import Written

_PRODUCTS = ("matmul", "linear", "convolution")
_ARRANGING = ("reshape", "transpose", "swapaxes", "ravel", "expand_dims", "squeeze", "negative",
              "moveaxis", "broadcast_to", "astype", "getitem")  # fmt: skip
_WORDS = {"tanh": "t", "clip": "clipped", "where": "chosen", "isinf": "infinite", "equal": "hits",
          "absolute": "size", "divide": "ratio", "negative": "minus", "power": "powers",
          "stack": "rows", "concatenate": "joined", "inv": "inverse", "pad": "padded",
          "sliding_window_view": "windows", "added_up": "padded", "exp": "powers",
          "add.reduce": "total", "maximum.reduce": "largest", "log": "logs", "greater": "mask",
          "subtract": "difference", "sqrt": "root", "add": "sums", "multiply": "product",
          "mean": "average"}  # fmt: skip
"""What the result of a function is called; others are called t."""
_ELEMENTARY = ("add", "subtract", "multiply", "divide", "power", "square", "abs")


class ValueNames:
    """Names for values: the user's; a1, z1 and delta1 for layers; for the rest what they are."""

    def __init__(self, written: Written, namer: Namer) -> None:
        self.written, self.namer = written, namer
        self.gradient_of: dict[str, str] = {}  # of hidden values that have names
        self.results = {
            value: name for name, value in written.parameters.items() if isinstance(value, Value)
        }
        self.outputs = {value: node for node, value in written.values.items()}
        self.gradients: dict[Any, Node] = {}
        self._readers: dict[Node, list[Node]] = defaultdict(list)
        for node in written.values:
            for parent in dict.fromkeys(node.parents):
                if parent is not None:
                    self._readers[parent].append(node)
        layers = [n for n in written.values if self._is_layer(n) and not self.merges(n)]
        counts: dict[Any, int] = {}  # equal layers have the same number
        self.layers: dict[Any, int] = {
            node: counts.setdefault(written.values[node], len(counts) + 1) for node in layers
        }
        self._pieces = {c.args[0] for c in written.program.calls if c.function is added_up}
        for node, value in written.gradients.items():  # several nodes may have the same
            before = self.gradients.get(value)
            if before is None or not (before.name or before in self.layers):
                self.gradients[value] = node

    def _is_layer(self, node: Node | None) -> bool:
        """Whether a node is a product, or a product plus a bias: what an activation reads."""
        while node is not None and node.op is not None:
            if node.op.name in _PRODUCTS:
                return True
            if node.op.name != "add":
                return False
            parents = [p for p in node.parents if p is not None and p.op is not None]
            node = next((p for p in parents if self.merges(p)), None)
        return False

    def _readers_name(self, node: Node) -> str:
        """The name that a reader gives to the output of a node, if it is a word."""
        for reader in self._readers[node]:
            for i, parent in enumerate(reader.parents):
                word = input_word(reader, i)
                if parent is node and len(word) > 2 and getattr(reader.op, "name", "") != "where":
                    return word
        return ""

    def name(self, call: Call, made: dict[Value, Call], names: dict[Value, str]) -> str:
        """The name of a call's value, given the calls and the names of the values before it."""
        value = call.out
        if value is self.written.loss:
            return "loss"
        if value in self.results:
            return self.namer.free(f"d{self.results[value]}")
        if value in self.outputs:
            return self._output_name(self.outputs[value])
        if value in self.gradients:
            return self._gradient_name(self.gradients[value], names)
        if value in self.written.residuals:
            return self.namer.free(self.written.residuals[value])
        made_by = [
            made[a].name if isinstance(a, Value) and a in made else "" for a in call.args[:2]
        ]
        if call.function is np.ndarray.__getitem__ and "window" in made_by[0]:
            return self.namer.free("windows")
        if call.out.shape and value in self._pieces:
            return self.namer.free("pieces")
        if call.function is np.subtract and made_by[1] == "maximum.reduce":
            return self.namer.free("shifted")
        return self.namer.free(_WORDS.get(call.name, "t"))

    def _gradient_name(self, node: Node, names: dict[Value, str]) -> str:
        """delta1 for layers, else dh for the output h."""
        if node in self.layers and not node.name:
            return self.namer.free(f"delta{self.layers[node]}")
        output = names.get(self.written.values.get(node)) or node.name  # type: ignore[arg-type]
        found = self.namer.free(f"d{output or 'h'}")
        if output:
            self.gradient_of[found] = output
        return found

    def _output_name(self, node: Node) -> str:
        if node.name:
            return self.namer.free(node.name)
        if word := self._readers_name(node):
            return self.namer.free(word)
        if node in self.layers and f"a{self.layers[node]}" not in self.namer.used:
            return self.namer.free(f"a{self.layers[node]}")
        for parent in node.parents:
            if parent in self.layers and f"z{self.layers[parent]}" not in self.namer.used:
                return self.namer.free(f"z{self.layers[parent]}")
        return self.namer.free("h", numbered=True)

    def merges(self, node: Node) -> bool:
        """Whether an output is written inside its reader's line: x @ W in x @ W + b."""
        readers = self._readers[node]
        if len(readers) != 1 or node.op is None or readers[0].op is None:
            return False
        name, reader = node.op.name, readers[0].op.name
        return (
            (name in _PRODUCTS and reader in ("add", "subtract"))
            or (node.shape == () and reader in _ELEMENTARY)
            or name in _ARRANGING
            or (name in _ELEMENTARY and reader in (*_ELEMENTARY, "sum", "mean"))
        )
