"""NumPy's inner loops by address: which are offered, and which are refused."""

from typing import Any

import numpy as np
import pytest

from tinygrad_np.native import loop, numpy_loops

UFUNCS = [f for name in sorted(dir(np)) if isinstance(f := getattr(np, name), np.ufunc)]


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_every_loop_of_real_numbers_is_offered(ufunc: np.ufunc) -> None:
    for types in ufunc.types:
        if not set(types) - set("->?bBhHiIlLqQefd"):
            assert loop(ufunc, types.replace("->", "")), types


@pytest.mark.parametrize(
    ("ufunc", "dtypes"),
    [(np.exp, "lf"), (np.add, "OOO"), (np.add, "mmm"), (np.add, "ggg"), (np.isnat, "M?")],
)
def test_what_is_not_there_or_not_plain_numbers_is_not_offered(ufunc: Any, dtypes: str) -> None:
    assert loop(ufunc, dtypes) is None


def test_dtypes_of_any_spelling() -> None:
    assert loop(np.exp, [np.float32, "float32"]) == loop(np.exp, "ff") != loop(np.exp, "dd")


def test_a_loop_with_other_results_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where NumPy calls another one than the table's."""

    class Other:
        def __getattr__(self, name: str) -> Any:
            return getattr(np.cos, name)

        def __call__(self, *arrays: Any, **options: Any) -> Any:
            return np.nextafter(np.cos(*arrays, **options), 9).astype(arrays[0].dtype)

    found = loop(np.cos, "dd")
    assert found
    equal = vars(numpy_loops)["_equal"]
    assert equal(np.cos, "d->d", *found)
    assert not equal(Other(), "d->d", *found)


def test_an_object_that_is_laid_out_anew_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = vars(numpy_loops)["_UFunc"]

    class Moved(structure):  # type: ignore[misc, valid-type]
        @classmethod
        def from_address(cls, address: int) -> Any:
            return structure.from_address(address + 8)

    monkeypatch.setattr(numpy_loops, "_UFunc", Moved)
    forget = vars(numpy_loops)["_verified"].cache_clear
    forget()
    assert loop(np.arctanh, "ee") is None
    forget()
