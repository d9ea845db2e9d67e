"""What NumPy computes with here, against what the processor offers: ``show_config``."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import numpy as np

__all__ = ["show_config"]

_VECTORS = {
    "SSE": ("X86_V2", "SSE2"),
    "AVX": ("AVX",),
    "AVX2": ("X86_V3", "AVX2"),
    "AVX-512": ("X86_V4", "AVX512_SKX"),
}
"""x86 vector instructions, the widest last, and what NumPy's newer and older versions call them."""
_WIDTHS = list(_VECTORS)

_KERNELS = {
    "SSE": (
        "katmai", "coppermine", "northwood", "prescott", "banias", "atom", "core2", "penryn",
        "dunnington", "nehalem", "athlon", "opteron", "opteron_sse3", "barcelona", "bobcat", "nano",
    ),
    "AVX": ("sandybridge", "bulldozer", "piledriver", "steamroller"),
    "AVX2": ("haswell", "zen", "excavator"),
    "AVX-512": ("skylakex", "cooperlake", "sapphirerapids"),
}  # fmt: skip
"""OpenBLAS's kernels for x86, by the vector instructions they use."""

# The kernel to ask for. Cooperlake and SapphireRapids differ from SkylakeX in bfloat16 and in
# small products only, and not every OpenBLAS has them.
_KERNEL_FOR = {"AVX": "Sandybridge", "AVX2": "Haswell", "AVX-512": "SkylakeX"}

_SETTINGS = (
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS",
)  # fmt: skip


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print what NumPy computes with, what the processor offers, and what to set if they differ.

    Matrix products take most of the time of training. OpenBLAS has kernels of its own for each
    kind of processor; where it does not know yours, or ``OPENBLAS_CORETYPE`` names another, they
    take up to twice as long. ``mode="dicts"`` returns the findings as a dict instead; its
    ``"advice"`` is a list of sentences, empty where all is well.

    Raises ValueError for any other mode.

    >>> import tinygrad_np as tg
    >>> sorted(tg.show_config(mode="dicts"))
    ['advice', 'blas', 'environment', 'numpy', 'processor']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode={mode!r} is neither "stdout" (print) nor "dicts" (return a dict)')
    found: dict[str, Any] = {
        "numpy": np.__version__,
        "blas": _blas(),
        "processor": _processor(),
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
    }
    found["advice"] = advice(found["blas"], found["processor"], found["environment"])
    if mode == "dicts":
        return found
    print(describe(found))
    return None


def _blas() -> dict[str, Any]:
    """The BLAS that NumPy uses; ``kernel`` and ``threads`` are None where they are not known."""
    from threadpoolctl import threadpool_info

    loaded = [library for library in threadpool_info() if library["user_api"] == "blas"]
    # SciPy brings a BLAS of its own.
    loaded.sort(key=lambda library: "numpy" not in os.path.dirname(library["filepath"]))
    if loaded:
        first = loaded[0]
        return {
            "library": {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}.get(
                first["internal_api"], first["internal_api"]
            ),
            "version": first["version"],
            "kernel": first.get("architecture"),
            "threads": first["num_threads"],
        }
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    library, version = built.get("name", "unknown"), built.get("version")
    return {"library": library, "version": version, "kernel": None, "threads": None}


def _processor() -> dict[str, Any]:
    """Its name, the cores that this process may use, its widest vector instructions."""
    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {})
    simd = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    widths = [width for width, names in _VECTORS.items() if simd.intersection(names)]
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return {
        "name": _processor_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "vectors": widths[-1] if widths else None,
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):  # not Linux, or not an x86 processor
        import platform

        return platform.processor() or platform.machine()


def advice(
    blas: dict[str, Any], processor: dict[str, Any], environment: dict[str, str]
) -> list[str]:
    """What to set so that BLAS uses what the processor offers: sentences, none if it does."""
    said = []
    used, offered = _vectors_of(blas), processor["vectors"]
    if used and offered and _WIDTHS.index(used) < _WIDTHS.index(offered):
        said.append(
            f"{blas['library']} runs its {blas['kernel']} kernel ({used}), but the processor has "
            f"{offered}. {_remedy(offered, environment)} Then look here again: the kernel named "
            f"should be one for {offered}."
        )
    threads, cores = blas["threads"], processor["cores"]
    limits = [name for name in environment if name != "OPENBLAS_CORETYPE"]
    if threads is not None and threads > cores:
        name = "OPENBLAS_NUM_THREADS" if blas["library"] == "OpenBLAS" else "OMP_NUM_THREADS"
        said.append(
            f"{blas['library']} uses {threads} threads, but this process may use {cores} "
            f"cores: they get in each other's way. Set {name}={cores} before Python starts."
        )
    elif threads is not None and threads < cores and limits:
        said.append(
            f"{blas['library']} uses {threads} of {cores} cores, because of "
            f"{' and '.join(f'{name}={environment[name]}' for name in limits)}. "
            "Unset it, unless that is meant."
        )
    return said


def _remedy(offered: str, environment: dict[str, str]) -> str:
    forced = environment.get("OPENBLAS_CORETYPE")
    if forced is not None:
        return (
            f"The environment variable OPENBLAS_CORETYPE={forced} asks for it: unset it, or set "
            f"OPENBLAS_CORETYPE={_KERNEL_FOR[offered]}, before Python starts."
        )
    return (
        "It may not know this processor: set the environment variable "
        f"OPENBLAS_CORETYPE={_KERNEL_FOR[offered]} before Python starts (in a shell: export "
        f"OPENBLAS_CORETYPE={_KERNEL_FOR[offered]}), or try a newer NumPy, whose OpenBLAS may."
    )


def _vectors_of(blas: dict[str, Any]) -> str | None:
    """The vector instructions that an OpenBLAS kernel uses; None if it is not one for x86."""
    kernel = (blas["kernel"] or "").lower()
    return next((width for width, names in _KERNELS.items() if kernel in names), None)


def describe(found: dict[str, Any]) -> str:
    """The findings as text."""
    blas, processor = found["blas"], found["processor"]
    parts = [" ".join(filter(None, (blas["library"], blas["version"])))]
    if blas["kernel"]:
        used = _vectors_of(blas)
        parts.append(f"kernel {blas['kernel']}" + (f" ({used})" if used else ""))
    if blas["threads"]:
        parts.append(f"threads: {blas['threads']}")
    offered = [processor["name"], f"cores: {processor['cores']}"]
    rows = [
        ("NumPy", found["numpy"]),
        ("BLAS", ", ".join(parts)),
        ("processor", ", ".join([*offered, *filter(None, [processor["vectors"]])])),
        *found["environment"].items(),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join([*lines, "", *(found["advice"] or ["BLAS uses what the processor offers."])])
