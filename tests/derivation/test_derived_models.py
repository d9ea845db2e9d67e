"""Every network's derivation, run by a bare Python with NumPy only, gives what backward gives."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import tinygrad_np as tg
from scripts import derive
from scripts.training import loss_of
from tests import tiny
from tinygrad_np.derivations.derived import Derivation

INPUTS = 6
"""Each of the three batch sizes twice."""
PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from by_hand import loss_and_gradients, np

given = dict(np.load("{folder}/given.npz"))
found = {{}}
for i in range({count}):
    mine = {{k[len(f"{{i}} "):]: v for k, v in given.items() if k.startswith(f"{{i}} ")}}
    loss, gradients = loss_and_gradients(**mine)
    found |= {{f"{{i}} d{{k}}": v for k, v in gradients.items()}} | {{f"{{i}} loss": loss}}
np.savez("{folder}/found.npz", **found)
assert not [name for name in sys.modules if name.startswith(("tinygrad", "models"))]
"""


def derived(name: str, seed: int) -> tuple[Derivation, dict[str, Any]]:
    """A network's derivation on random parameters and samples, and what backward gives."""
    rng = np.random.default_rng(seed)
    model = models.make(name, rng, np.float64, **tiny.SIZES)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.2, parameter.shape)
    x, t = tiny.samples(name, 5 + seed % 3, rng)
    losses: list[tg.Tensor] = []

    def loss(x: Any, labels: Any) -> tg.Tensor:
        losses.append(loss_of(model, x, labels))
        return losses[-1]

    found = tg.derivation(loss, x, t, names=model)
    losses[0].backward()
    gradients = {p.data.tobytes(): p.grad for p in model.parameters()}
    assert len(gradients) == len(found.parameters) == len(model.parameters())
    true = {f"d{name}": gradients[found.inputs[name].tobytes()] for name in found.parameters}
    return found, {"loss": losses[0].data} | true


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("lenet", "gpt") else [])
        for name in models.MODELS
    ],
)
def test_the_source_runs_alone_and_is_backward(name: str, tmp_path: Path) -> None:
    source = ""
    given: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for i in range(INPUTS):
        found, true = derived(name, i)
        source = source or found.numpy()
        given |= {f"{i} {k}": v for k, v in found.inputs.items()}
        expected |= {f"{i} {k}": v for k, v in true.items()}
    (tmp_path / "by_hand.py").write_text(source)
    np.savez(tmp_path / "given.npz", **given)
    program = PROGRAM.format(folder=tmp_path.as_posix(), count=INPUTS)
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    result = np.load(tmp_path / "found.npz")
    assert sorted(result) == sorted(expected)
    for key, value in expected.items():
        assert np.abs(result[key] - value).max() <= 1e-12 * np.abs(value).max(), key


def test_three_layers_are_a_page_a_person_would_write() -> None:
    source = derived("three_layer", 0)[0].numpy()
    assert len(source.splitlines()) <= 40
    for line in (
        "a1 = x @ W1 + b1",
        "z1 = 1 / (1 + np.exp(-a1))",
        "dW3 = z2.T @ delta3",
        "db3 = np.sum(delta3, axis=0)",
        "delta2 = (delta3 @ W3.T) * z2 * (1 - z2)",
        "dW1 = x.T @ delta1",
    ):
        assert f"    {line}" in source
    assert all(len(line) <= 110 for line in source.splitlines())


@pytest.mark.parametrize("name", ["relu_sgd", "lenet", "gpt"])
def test_the_command_prints_a_module(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert derive.main([name]) == 0
    namespace: dict[str, Any] = {}
    exec(capsys.readouterr().out, namespace)
    assert callable(namespace["loss_and_gradients"])
    assert derive.main([name, "--latex"]) == 0
    assert r"\partial" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert derive.main(["no_such_model"]) == 1
    assert "there is no model called" in capsys.readouterr().err
