"""``show_config``: what NumPy computes with, compared with what the processor offers."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import numpy as np

from .tables import columns, printable

# x86 vector instructions, the widest last: what NumPy calls them, and the OpenBLAS kernels that use
# them. The kernel to ask for is the first: not every OpenBLAS has the others.
_VECTORS = {
    "SSE": (
        "X86_V2 SSE2",
        "Nehalem Katmai Coppermine Northwood Prescott Banias Atom Core2 Penryn Dunnington Athlon "
        "Opteron Opteron_SSE3 Barcelona Bobcat Nano",
    ),
    "AVX": ("AVX", "Sandybridge Bulldozer Piledriver Steamroller"),
    "AVX2": ("X86_V3 AVX2", "Haswell Zen Excavator"),
    "AVX-512": ("X86_V4 AVX512_SKX", "SkylakeX Cooperlake SapphireRapids"),
}
_LIBRARIES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
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

    OpenBLAS has its own kernels for each kind of processor. If it does not know yours, or
    ``OPENBLAS_CORETYPE`` names another one, matrix products take up to twice as long. With
    ``mode="dicts"`` the findings are returned instead. Their ``"advice"`` is a list of sentences,
    which is empty if all is well; ``"native"`` says which compiler ``tg.compile`` uses for native
    code, and where the code is stored.

    Raises ValueError for any other mode.

    >>> import tinygrad_np as tg
    >>> sorted(tg.show_config(mode="dicts"))
    ['advice', 'blas', 'environment', 'native', 'numpy', 'processor']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode={mode!r} is neither "stdout" (print) nor "dicts" (return a dict)')
    from .native import describe as native

    found: dict[str, Any] = {
        "numpy": np.__version__,
        "blas": _blas(),
        "processor": _processor(),
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "native": native(),
    }
    found["advice"] = advice(found["blas"], found["processor"], found["environment"])
    found["advice"] += found["native"].pop("advice")
    if mode == "dicts":
        return found
    print(printable(describe(found)))
    return None


def _blas() -> dict[str, Any]:
    """The BLAS that NumPy uses; ``kernel`` and ``threads`` are None if they are not known."""
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    # SciPy brings a BLAS of its own.
    found.sort(key=lambda library: "numpy" not in os.path.dirname(library["filepath"]))
    used = (found or [np.show_config(mode="dicts")["Build Dependencies"]["blas"]])[0]
    name = used.get("internal_api") or used.get("name", "unknown")
    return {
        "library": _LIBRARIES.get(name, name),
        "version": used.get("version"),
        "kernel": used.get("architecture"),
        "threads": used.get("num_threads"),
    }


def _processor() -> dict[str, Any]:
    """The processor's name, the cores that this process may use, the widest vector instructions."""
    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {})
    simd = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    widths = [width for width, (names, _) in _VECTORS.items() if simd.intersection(names.split())]
    return {
        "name": _processor_name(),
        "cores": cores(),
        "vectors": widths[-1] if widths else None,
    }


def cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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
    """Sentences that say what to set so that BLAS uses all that the processor offers."""
    said = []
    order = list(_VECTORS)
    library, used, offered = blas["library"], _vectors_of(blas), processor["vectors"]
    if used and offered and order.index(used) < order.index(offered):
        forced = environment.get("OPENBLAS_CORETYPE")
        setting = f"OPENBLAS_CORETYPE={_VECTORS[offered][1].split()[0]}"
        remedy = (
            f"OPENBLAS_CORETYPE={forced} asks for it: unset it, or set {setting},"
            if forced
            else f"It may not know this processor: try a newer NumPy, or set {setting}"
        )
        said.append(
            f"{library} runs its {blas['kernel']} kernel ({used}), but the processor has "
            f"{offered}. {remedy} in the environment before Python starts."
        )
    threads, cores = blas["threads"], processor["cores"]
    limits = [f"{name}={value}" for name, value in environment.items() if "THREADS" in name]
    if threads and threads > cores:
        name = "OPENBLAS_NUM_THREADS" if library == "OpenBLAS" else "OMP_NUM_THREADS"
        said.append(
            f"{library} uses {threads} threads, but this process may use {cores} cores: they get "
            f"in each other's way. Set {name}={cores} before Python starts."
        )
    elif threads and threads < cores and limits:
        said.append(
            f"{library} uses {threads} of {cores} cores, because of {' and '.join(limits)}. "
            "Unset it, unless that is meant."
        )
    return said


def _vectors_of(blas: dict[str, Any]) -> str | None:
    """The vector instructions that an OpenBLAS kernel uses; None if it is not for x86."""
    kernel = blas["kernel"].lower() if blas["library"] == "OpenBLAS" and blas["kernel"] else ""
    known = ((width, kernels.lower().split()) for width, (_, kernels) in _VECTORS.items())
    return next((width for width, kernels in known if kernel in kernels), None)


def describe(found: dict[str, Any]) -> str:
    """The findings as text."""
    blas, processor = found["blas"], found["processor"]
    used = f" ({_vectors_of(blas)})" if _vectors_of(blas) else ""
    computes = [
        " ".join(filter(None, (blas["library"], blas["version"]))),
        f"kernel {blas['kernel']}{used}" if blas["kernel"] else None,
        f"threads: {blas['threads']}" if blas["threads"] else None,
    ]
    offered = [processor["name"], f"cores: {processor['cores']}", processor["vectors"]]
    rows = {
        "NumPy": found["numpy"],
        "BLAS": ", ".join(filter(None, computes)),
        "processor": ", ".join(filter(None, offered)),
        **found["environment"],
    }
    native = found.get("native", {})
    if native.get("compiler"):
        rows["compiler"] = f"{native['compiler']} {' '.join(native['flags'])}: {native['version']}"
        rows["native code"] = native["cache"] or "is not kept"
    advised = found["advice"] or ["BLAS uses what the processor offers."]
    return "\n".join([*columns(rows.items()), "", *advised])
