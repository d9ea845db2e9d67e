"""A derivation: the forward and the backward pass of a graph, written out."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.program import Value
from ..graph import Node
from ..tensor import Tensor, wrap
from . import batch, source
from .latex import Equations
from .lines import Line, Lines
from .problem import DerivationError
from .replay import Replay
from .writer import Written

if TYPE_CHECKING:
    from ..drawing.render import Drawing
    from .compare import Parallel


class Derivation:
    """The backward pass of a loss as plain NumPy and as mathematics; see ``derivation``.

    ``inputs`` holds the arguments of the function of ``numpy()`` by name, ``parameters`` the names
    of those that it differentiates by, ``result_names`` the names of their gradients. ``lines``
    are the lines in order; their ``number`` is that in the text of ``numpy()``.
    """

    def __init__(self, replay: Replay, shorter: Callable[[], Replay] | None = None) -> None:
        self.replay = replay
        self.written = Written(replay)
        smaller = batch.generalise(self.written, shorter or self._shorter)
        self.written.shorten()
        self._lines = Lines(self.written, replay.namer)
        self._source = source.source(self._lines)
        self.lines: list[Line] = self._lines.lines
        self.result_names: dict[str, str] = self._lines.result_names
        self.parameters: tuple[str, ...] = tuple(replay.parameters)
        known = replay.arrays | self._lines.constants
        self.inputs: dict[str, Any] = {n: known[n] for n in known if n in self._lines.arguments}
        self._numbers = {
            call.out: line.number for line in reversed(self.lines) for call in line.calls
        }
        by_name = {line.name: line.number for line in self.lines}
        self._results = {
            node: by_name[self.result_names[name]] for name, node in replay.parameters.items()
        }
        self._check(self.written)
        if smaller is not None:
            self._check(smaller)

    def _shorter(self) -> Replay:
        """The graph for one row less."""
        arrays = self.replay.arrays.items()
        inputs = {name: array for name, array in arrays if name not in self.replay.parameters}
        return self.replay.with_arrays(batch.one_less(inputs))

    @property
    def known(self) -> bool:
        """Whether the values of all inputs are known."""
        return self.replay.known

    def numpy(self) -> str:
        """The source of ``loss_and_gradients(...)``: plain NumPy alone, one statement a line."""
        return self._source

    def __str__(self) -> str:
        """The source with the numbers of its lines in the margin."""
        rows = enumerate(self._source.splitlines(), 1)
        return "\n".join([f"{i:4}  {row}".rstrip() for i, row in rows])

    def equations(self) -> list[str]:
        """The lines as equations, in LaTeX."""
        return [f"{left} = {right}" for _, left, right, _ in Equations(self._lines).rows()]

    def latex(self) -> str:
        """The lines as aligned equations, with shapes beside them."""
        rows = [
            rf"{left} &= {right}" + (rf" && ({shape})" if shape else "")
            for _, left, right, shape in Equations(self._lines).rows()
        ]
        body = " \\\\\n".join(rows)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n"

    def compare(self, own: str | Callable[..., Any] | Mapping[str, Any]) -> Parallel:
        r"""Your own derivation beside this one; the first line that differs is marked.

        ``own`` is a function in plain NumPy or its source, or a dict of gradients by parameter. The
        function's arguments have the names of ``inputs``; one more argument gets a dict of the
        parameters. Gradients are recognised by their names (``dW1``, ``grad_W1``, ``W1_grad``) or
        by the dict that is returned, other lines by their values. If a gradient is wrong, the
        result holds the report of ``tg.audit``.

        >>> import numpy as np, tinygrad_np as tg
        >>> W = tg.Tensor([[1.0, -1.0], [2.0, 0.5]], requires_grad=True, name="W")
        >>> x = np.array([[2.0, 1.0], [3.0, -1.0]])
        >>> derived = tg.derivation(lambda x: tg.tanh(x @ W).sum(), x)
        >>> found = derived.compare("h = np.tanh(x @ W)\ndelta = 1 - h\ndW = x.T @ delta")
        >>> print(found.first.text, "|", found.first.line.text[0])
        delta = 1 - h | delta1 = 1 - z1 * z1
        """
        from .compare import compare

        return compare(self, own)

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}$$"

    def _repr_html_(self) -> str:
        cells = [
            f"<tr><td>{line.number}</td>"
            f"<td style='text-align:left'><pre>{html.escape(chr(10).join(line.text))}</pre></td>"
            f"<td style='text-align:left'>${html.escape(f'{left} = {right}')}$</td>"
            f"<td>{f'${html.escape(shape)}$' if shape else ''}</td>"
            f"<td style='text-align:left'>{html.escape(source.comment(line))}</td></tr>"
            for line, left, right, shape in Equations(self._lines).rows()
        ]
        heads = ("line", "NumPy", "equation", "shape", "op")
        head = "".join([f"<th>{word}</th>" for word in heads])
        return f"<table><tr>{head}</tr>{''.join(cells)}</table>"

    def line_of(self, tensor: Tensor | Node, gradient: bool = False) -> int | None:
        """The line, in the text of ``numpy()``, that computes a Tensor of the graph.

        With ``gradient`` it is the line that computes its gradient. None if there is no such line.
        """
        node = tensor.node if isinstance(tensor, Tensor) else tensor
        if node is None:
            return None
        if gradient and node in self._results:
            return self._results[node]
        value = (self.written.gradients if gradient else self.written.values).get(node)
        return self._numbers.get(value) if isinstance(value, Value) else None

    def name_of(self, node: Node) -> str:
        """The name of a node's output in the derivation; empty if it has none."""
        value = self.written.values.get(node)
        return self._lines.names.get(value, "") if isinstance(value, Value) else ""

    def draw(self, **options: Any) -> Drawing:
        """The graph with the names and the line numbers of the derivation; see ``tg.draw``.

        Every repeated block is drawn, unless ``collapse`` is given.

        >>> import numpy as np, tinygrad_np as tg
        >>> W = tg.Tensor([[1.0, -1.0]], requires_grad=True, name="W")
        >>> derived = tg.derivation(lambda x: tg.tanh(x @ W).sum(), np.ones((3, 1)))
        >>> "dW = xᵀ @ g" in derived.draw(show="rule").source
        True
        """
        from ..drawing import draw

        names: list[tuple[str, Any]] = [
            (name, wrap(array, self.replay.parameters.get(name)))
            for name, array in self.replay.arrays.items()
        ]
        options = {"collapse": False, "names": names, **options}
        return draw(self.replay.tensor, derivation=self, **options)

    def _check(self, written: Written) -> None:
        """Raise DerivationError unless the source computes what the rules compute."""
        known = written.given | self._lines.constants
        given = {name: known[name] for name in self._lines.arguments}
        with np.errstate(all="ignore"):
            loss, gradients = source.execute(self._source, given)
        expected = {"loss": written.loss_value} | written.concrete
        for name, found in {"loss": loss, **gradients}.items():
            true = np.asarray(expected[name])
            close = 1e-9 if true.dtype == float else 1e-3
            scale = np.abs(true[np.isfinite(true)]).max(initial=0) if true.size else 0
            same = np.allclose(found, true, close, close * scale, equal_nan=True)
            if np.shape(found) != true.shape or not same:
                raise DerivationError(
                    f"the derivation, executed, gives another {name} than the rules do: this is "
                    "a bug of tg.derivation, please report it"
                )
