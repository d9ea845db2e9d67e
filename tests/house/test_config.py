"""What NumPy computes with: what is found, what is advised, in one process and in others."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from tinygrad_np.config import advice, describe

OPENBLAS = {"library": "OpenBLAS", "version": "0.3.31", "kernel": "SkylakeX", "threads": 2}
PROCESSOR = {"name": "AMD EPYC", "cores": 2, "vectors": "AVX-512"}


def advised(
    blas: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> list[str]:
    return advice(OPENBLAS | (blas or {}), PROCESSOR | (processor or {}), environment or {})


def test_what_is_found_here() -> None:
    found = tg.show_config(mode="dicts")
    assert found["numpy"] == np.__version__
    assert found["blas"]["library"]
    assert found["processor"]["name"]
    assert 1 <= found["processor"]["cores"] <= (os.cpu_count() or 1)


def test_it_is_printed_so_that_people_can_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    tg.show_config()
    printed = capsys.readouterr().out
    assert printed == describe(tg.show_config(mode="dicts")) + "\n"
    assert printed.startswith("NumPy ")
    assert np.__version__ in printed


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'json' is neither"):
        tg.show_config(mode="json")  # type: ignore[call-overload]


def test_nothing_is_advised_where_all_is_well() -> None:
    assert advised() == []
    assert advised({"kernel": "Cooperlake"}) == []
    assert advised({"kernel": "Zen"}, {"vectors": "AVX2"}) == []
    found = {"numpy": "2.4", "blas": OPENBLAS, "processor": PROCESSOR, "environment": {}}
    assert "BLAS uses what the processor offers." in describe(found | {"advice": []})


@pytest.mark.parametrize(
    ("kernel", "vectors", "remedy"),
    [
        ("Haswell", "AVX-512", "SkylakeX"),
        ("Zen", "AVX-512", "SkylakeX"),
        ("Prescott", "AVX2", "Haswell"),
        ("Nehalem", "AVX", "Sandybridge"),
    ],
)
def test_a_kernel_below_the_processor(kernel: str, vectors: str, remedy: str) -> None:
    (sentence,) = advised({"kernel": kernel}, {"vectors": vectors})
    assert f"{kernel} kernel" in sentence
    assert f"OPENBLAS_CORETYPE={remedy}" in sentence
    assert vectors in sentence


def test_a_kernel_that_the_environment_forces_is_to_be_released() -> None:
    (sentence,) = advised({"kernel": "Haswell"}, environment={"OPENBLAS_CORETYPE": "Haswell"})
    assert "OPENBLAS_CORETYPE=Haswell asks for it: unset it" in sentence


@pytest.mark.parametrize(
    ("blas", "vectors"),
    [
        ({"kernel": "neoversen1"}, None),
        ({"kernel": "VORTEX"}, None),
        ({"library": "MKL", "kernel": None}, "AVX-512"),
        ({"library": "accelerate", "kernel": None, "threads": None}, None),
        ({"library": "BLIS", "kernel": "zen4"}, "AVX-512"),
        ({"library": "BLIS", "kernel": "haswell"}, "AVX-512"),
    ],
)
def test_what_is_not_known_is_not_judged(blas: dict[str, Any], vectors: str | None) -> None:
    assert advised(blas, {"vectors": vectors}) == []


def test_threads() -> None:
    (sentence,) = advised({"threads": 64})
    assert "64 threads" in sentence
    assert "OPENBLAS_NUM_THREADS=2" in sentence
    (sentence,) = advised({"library": "MKL", "kernel": None, "threads": 4})
    assert "OMP_NUM_THREADS=2" in sentence
    (sentence,) = advised({"threads": 1}, environment={"OMP_NUM_THREADS": "1"})
    assert "1 of 2 cores, because of OMP_NUM_THREADS=1" in sentence
    assert advised({"threads": 1}) == []  # a build without threads


def test_the_environment_is_seen() -> None:
    """A fresh process: OpenBLAS reads its settings once, when NumPy is imported."""
    code = "import json, tinygrad_np as tg; print(json.dumps(tg.show_config(mode='dicts')))"
    settings = {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **settings}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    found = json.loads(output)
    assert found["environment"].items() >= settings.items()
    if found["blas"]["library"] == "OpenBLAS":
        assert found["blas"]["threads"] == 1
    if found["processor"]["vectors"] in ("AVX2", "AVX-512") and found["blas"]["kernel"]:
        assert any("OPENBLAS_CORETYPE=Prescott asks for it" in text for text in found["advice"])
