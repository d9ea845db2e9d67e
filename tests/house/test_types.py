"""What type checkers make of expressions of Tensors and arrays."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_np as tg

PROGRAM = """
import numpy as np
import tinygrad_np as tg

x = np.ones((4, 3))
W = tg.Tensor(np.ones((3, 2)), True)
b = tg.Tensor(np.zeros(2), True)
(x @ W + b).relu().sum().backward()
for t in (x @ W, x.T * W, x + b, x - b, x / b, x % b, x // b, x**b, x < b, x.sum() + b, 2 * b):
    t.relu()
for t in (W @ b, W @ x, W * 2, W - x, W / x, W**2, W < x, -W, W[0], 2**W, np.float64(2.0) * W):
    t.relu()
W *= 2
W.relu()
np.tanh(W)
np.concatenate([W, W])
"""

CHECKERS = {
    "mypy": ["mypy", "--strict", "--cache-dir=/dev/null"],
    "basedpyright": ["basedpyright", "--level", "error", "--pythonpath", sys.executable],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKERS)
def test_expressions_with_arrays_are_tensors(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    (tmp_path / "program.py").write_text(PROGRAM)
    root = str(Path(tg.__file__).parents[1])
    (tmp_path / "pyrightconfig.json").write_text(
        f'{{"extraPaths": ["{root}"], "typeCheckingMode": "standard"}}'
    )
    command = [sys.executable, "-m", *CHECKERS[name], "program.py"]
    result = subprocess.run(
        command, check=False, cwd=tmp_path, env={"MYPYPATH": root, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    found = [
        line for line in result.stdout.splitlines() if "program.py" in line and "error" in line
    ]
    assert result.returncode == 0 or not found, "\n".join(found)
    assert result.stdout, result.stderr
