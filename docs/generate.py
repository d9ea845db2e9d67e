"""The pages of the reference: which names stand where, and the table of ops with its figures.

``conf.py`` calls ``write`` before Sphinx reads anything. What a name does is in its docstring; here
it only gets its place, and an op its gradient rules.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tinygrad_np as tg
from scripts.gradcheck import COLUMNS, check_registered
from tinygrad_np.definition import Op
from tinygrad_np.nn.function import Function

OPS = (
    "elementwise", "linalg", "reduction", "shape", "indexing", "activation", "rectifier",
    "cross_entropy", "loss", "normalization", "convolution", "pooling", "windows", "resampling",
    "attention", "special",
)  # fmt: skip
"""The files of ``tinygrad_np/ops``, in the order of the reference."""

PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "tensor": ("Tensor", "", ("Tensor", "no_grad", "enable_grad", "is_recording")),
    "derivatives": ("Derivatives", "", (
        "grad", "value_and_grad", "vjp", "jvp", "jacobian", "hessian", "hvp", "checkpoint",
        "numerical_gradient", "directional_derivative", "GraphReleasedError", "ChangedArrayError",
    )),
    "checks": ("Checks and audits", "", (
        "gradcheck", "GradcheckReport", "GradcheckError", "audit", "audit_layer", "audit_step",
        "AuditReport", "auditing.Verdict", "auditing.Diagnosis", "derivation",
        "derivations.derived.Derivation", "DerivationError", "debug",
    )),
    "drawing": ("Drawing", "", (
        "draw", "drawing.render.Drawing", "trace_table", "record", "scope", "LiveChart",
    )),
    "defining": ("Defining ops", "", (
        "op", "ufunc", "composite", "Op", "case", "cases.normal", "cases.uniform", "cases.distinct",
        "cases.regular", "cases.integers", "cases.booleans", "cases.probabilities",
    )),
    "compile": ("Compile", "", ("compile", "CompileError", "show_config")),
    "files": ("Files and data", "", (
        "save", "load", "data.load_mnist", "data.batches", "data.load_idx_folder", "data.read_idx",
        "data.write_idx", "data.IDXError", "data.read_text", "data.encode", "data.windows",
    )),
    "random": ("Random numbers and dropout", "", (
        "manual_seed", "random.default_generator", "random.set_default_generator", "dropout",
        "dropout2d",
    )),
    "distributed": ("Many machines", "See :doc:`/many_machines`.", (
        "distributed.init", "distributed.rank", "distributed.size", "distributed.shard",
        "distributed.share", "distributed.part", "distributed.average_gradients",
        "distributed.average", "distributed.all_reduce", "distributed.agreed",
        "distributed.broadcast", "distributed.synchronize", "distributed.batch_norm",
        "distributed.alone", "distributed.abort",
    )),
    "optim": ("Optimisers", "", (
        "optim.Optimizer", "optim.SGD", "optim.Adam", "optim.AdamW", "optim.constant",
        "optim.step_decay", "optim.cosine", "optim.one_cycle", "optim.clip_grad_norm",
        "optim.clip_grad_value",
    )),
}  # fmt: skip
"""Pages by file name: a title, a sentence, and names in ``tinygrad_np``."""

LAYERS = (
    "module", "containers", "linear", "convolution", "pooling", "normalization", "attention",
    "dropout", "activation", "loss", "initializers",
)  # fmt: skip
"""The files of ``tinygrad_np/nn``, in the order of the reference."""


def write(reference: Path) -> None:
    """Write all pages to the folder ``generated`` of the reference."""
    folder = reference / "generated"
    folder.mkdir(exist_ok=True)
    pages = {name: _page(title, words, names) for name, (title, words, names) in PAGES.items()}
    for name in OPS:
        module = importlib.import_module(f"tinygrad_np.ops.{name}")
        title, words = name.replace("_", "-").capitalize(), _first_sentence(module)
        pages[f"ops_{name}"] = _page(title, words, module.__all__)
    pages["nn"] = _layers()
    pages["ops"] = _table()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def documented() -> set[str]:
    """The names, below ``tinygrad_np``, that the reference has."""
    found = {name for _, _, names in PAGES.values() for name in names}
    for name in OPS:
        found.update(importlib.import_module(f"tinygrad_np.ops.{name}").__all__)
    return found | {f"nn.{name}" for file in LAYERS for name in _defined(file)}


def _first_sentence(module: Any) -> str:
    return str(module.__doc__).partition("\n\n")[0]


def _defined(file: str) -> list[str]:
    """The public names of ``tinygrad_np.nn`` that one of its files defines."""
    module = f"tinygrad_np.nn.{file}"
    return [
        name for name, value in vars(tg.nn).items()
        if getattr(value, "__module__", "") == module and not name.startswith("_")
    ]  # fmt: skip


def _heading(title: str, line: str = "=") -> str:
    return f"{title}\n{line * len(title)}\n"


def _page(title: str, words: str, names: Any) -> str:
    return "\n".join([_heading(title), f"{words}\n", *map(_entry, names)])


def _layers() -> str:
    parts = [_heading("Layers"), "``from tinygrad_np import nn``\n"]
    for file in LAYERS:
        module = importlib.import_module(f"tinygrad_np.nn.{file}")
        parts += [_heading(file.capitalize(), "-"), f"{_first_sentence(module)}\n"]
        parts += [_entry(f"nn.{name}") for name in _defined(file)]
    return "\n".join(parts)


def _entry(name: str) -> str:
    """The directive for one name: a function, or a class with its methods; an op's rules below."""
    value = pkgutil.resolve_name(f"tinygrad_np.{name}")
    if isinstance(value, type):
        options = "" if issubclass(value, Exception | Function) else "\n   :members:"
        if fields := getattr(value, "_fields", ()):  # of a NamedTuple; the class tells of them
            options += f"\n   :exclude-members: {', '.join(fields)}"
        return f".. autoclass:: tinygrad_np.{name}{options}\n"
    op = tg.OPS.get(name)
    if op is None or op.composite:
        return f".. autofunction:: tinygrad_np.{name}\n"
    given = f"({', '.join(op.parameters)})" if not hasattr(value, "__wrapped__") else ""
    lines = [f".. autofunction:: tinygrad_np.{name}{given}\n"]
    if op.gradients:
        lines += ["   Gradients:\n", *(f"   - {rule}" for rule in _rules(op))]
    return "\n".join([*lines, ""])


def _rules(op: Op) -> Iterator[str]:
    for name in op.gradients:
        yield f"``d{name} = {op.formula(name)}``"


def _table() -> str:
    """Every op with its rules and the largest errors that its checks found."""
    head = _heading("The table of ops")
    found = [check_registered(op, seed=0) for op in tg.OPS.values() if op.differentiable]
    if wrong := [result.name for result in found if not result.passed]:
        raise AssertionError(f"these ops fail their gradient checks: {', '.join(wrong)}")
    calls = sum(result.calls for result in found)
    count = sum(len(result.comparisons) for result in found)
    words = (
        f"{len(found)} ops carry gradients. The figures were computed while this page was built: "
        f"{calls} sample calls, {count:,} derivatives, all in float64. A figure is the largest "
        "relative error of the derivatives of an op: against the complex step where the op is "
        "analytic, against extrapolated differences elsewhere, and, for second derivatives, "
        "against differences of the first. ``python -m scripts.gradcheck`` repeats the checks.\n\n"
        "A rule gives the gradient of one input from ``g``, the gradient of the output ``out``. An "
        "op without a rule of its own is written in terms of others.\n"
    )
    rows: list[tuple[str, ...]] = [("op", "rules", "calls", *COLUMNS[:3])]
    for result in found:
        op, worst = tg.OPS[result.name], result.worst()
        name = result.name if result.name in documented() else f"``{result.name}``"
        link = f":py:func:`{name} <tinygrad_np.{name}>`" if name == result.name else name
        rules = "\n       ".join(f"| {rule}" for rule in _rules(op)) or "from other ops"
        errors = [f"{worst[column]:.0e}" if column in worst else "" for column in COLUMNS[:3]]
        rows.append((link, rules, str(result.calls), *errors))
    table = [".. list-table::", "   :header-rows: 1", "   :class: ops", ""]
    for row in rows:
        table += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join([head, words, *table, ""])


def check_errors(app: Any, doctree: Any) -> None:
    """Warn where a cell is tagged raises-exception and raises none: its text would be wrong."""
    from docutils import nodes
    from sphinx.util import logging

    for cell in doctree.findall(nodes.container):
        if "tag_raises-exception" in cell.get("classes", ()) and not any(
            "traceback" in block.get("classes", ()) for block in cell.findall(nodes.literal_block)
        ):
            logging.getLogger(__name__).warning("this cell raises nothing", location=cell)


def mark_drawings(app: Any, doctree: Any) -> None:
    """Give drawings of graphs a class of their own: on a small screen they are scrolled."""
    from docutils import nodes

    for image in doctree.findall(nodes.image):
        file = Path(app.srcdir, image["uri"])
        if file.suffix == ".svg" and file.is_file() and b"by graphviz" in file.read_bytes()[:400]:
            image["classes"].append("drawing")
