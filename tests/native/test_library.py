"""Compiling: which compiler, what happens when it misbehaves, and what the cache trusts."""

import ctypes
import errno
import os
import re
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tinygrad_np as tg
from tinygrad_np.native import cache, describe, library, toolchain

SOURCE = "double half(double x) { return x / 2; }\n"
ROOT = Path(tg.__file__).parents[1]
REAL = toolchain.find_compiler().command

Script = Callable[[str], Path]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, a process that has compiled nothing yet."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    cache.forget()
    yield cache.cache_folder() or tmp_path
    cache.forget()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A shell script as the compiler; $REAL is the one that works."""

    def make(text: str) -> Path:
        path = tmp_path / "fake cc"  # with a space
        path.write_text(
            f"#!/bin/sh\necho . >> '{tmp_path}/runs'\nREAL='{' '.join(REAL)}'\n{text}\n"
        )
        path.chmod(0o755)
        monkeypatch.setenv(toolchain.CHOICE, f"'{path}'")
        return tmp_path / "runs"

    return make


def half(source: str = SOURCE) -> float:
    loaded = library(source)
    assert loaded is not None
    loaded.half.restype, loaded.half.argtypes = ctypes.c_double, [ctypes.c_double]
    result: float = loaded.half(3.0)
    return result


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def runs(counter: Path) -> int:
    return counter.read_text().count(".") if counter.exists() else 0


def failure(match: str, source: str = SOURCE) -> None:
    """There is no library, and one warning says why; the next time there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [library(text) for text in (source, source, source + "//\n")] == [None] * 3
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert caught[0].filename == __file__
    assert re.search(match, str(caught[0].message), re.DOTALL)


# The compiler


def test_a_library_is_compiled_once_and_found_by_the_next_process(
    folder: Path, script: Script
) -> None:
    counter = script('exec $REAL "$@"')
    assert half() == 1.5
    assert half() == 1.5
    cache.forget()
    assert half() == 1.5
    assert runs(counter) == 1
    assert len(libraries(folder)) == 1


def test_other_source_flags_or_compiler_make_another_library(
    folder: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for text in ('exec $REAL "$@"', 'exec  $REAL "$@"'):
        script(text)
        compiler = toolchain.find_compiler()
        names |= {cache.key(SOURCE, compiler), cache.key(SOURCE + " ", compiler)}
    with monkeypatch.context() as patch:
        patch.setattr(cache, "FLAGS", ("-O0",))
        names.add(cache.key(SOURCE, compiler))
    assert len(names) == 5
    assert cache.key(SOURCE, compiler) in names


def test_what_a_compiler_prints_is_of_no_interest(script: Script, capfd: Any) -> None:
    script('echo "program.c:1: warning: bad style" >&2; echo hello; exec $REAL "$@"')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert half() == 1.5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("echo 'no space left' >&2; exit 1", r"failed \(exit code 1\): no space left"),
        ("exit 3", "exit code 3.*no message"),
        ("kill -KILL $$", "ended by signal 9"),
        ("$REAL $@; truncate -s 100 program.so; kill -TERM $$", "ended by signal 15"),
        ("exit 0", "failed"),  # and has written nothing
        ("echo rubbish > program.so", "program.so"),
        (": > program.so", "program.so"),
        ("rm -f program.c; mkdir program.so", "failed"),
    ],
)
def test_a_compiler_that_fails_means_numpy_and_one_warning(
    folder: Path, script: Script, text: str, match: str
) -> None:
    script(text)
    failure(match)
    assert libraries(folder) == []


def test_source_that_does_not_compile_leaves_others_to_compile(recwarn: Any) -> None:
    assert library("this is not C") is None
    assert half() == 1.5
    assert len(recwarn) == 1
    recwarn.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_compiler_that_hangs_is_ended_with_its_children_and_not_tried_again(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = script(f"sleep 600 & echo $! > '{tmp_path}/child'; sleep 600")
    monkeypatch.setattr(toolchain, "TIMEOUT", 0.5)
    start = time.monotonic()
    failure(r"stopped after 0\.5 seconds")
    assert time.monotonic() - start < 10
    assert runs(counter) == 1
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # a killed process is there until its parent, init, has heard of it
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the compiler's child is still running")


def test_ctrl_c_ends_the_compiler(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script("sleep 600")

    def interrupted(self: Any, timeout: float | None = None) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        library(SOURCE)
    assert time.monotonic() - start < 10


def test_flags_that_a_compiler_does_not_know_are_left_out(script: Script) -> None:
    script('for w; do case $w in -march*) echo "bad $w" >&2; exit 1;; esac; done; exec $REAL "$@"')
    assert half() == 1.5


@pytest.mark.parametrize("chosen", ["no-such-compiler", "", "'open", "/", "/etc/passwd -x"])
def test_a_chosen_compiler_that_is_none_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setenv(toolchain.CHOICE, chosen)
    failure(f"{toolchain.CHOICE}={chosen} is not a command")


def test_without_a_compiler_the_warning_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(toolchain.CHOICE, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    failure(r"pip install tinygrad_np\[native\]")
    assert "pip install tinygrad_np[native]" in describe()["advice"][0]


def test_the_order_of_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(toolchain.CHOICE, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "zig.py").touch()
    spec = type("Spec", (), {"origin": str(tmp_path / "zig.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert toolchain.find_compiler().command == (sys.executable, "-m", "ziglang", "cc")
    for name in ("clang", "gcc", "cc"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert toolchain.find_compiler().command == (str(tmp_path / name),)
    monkeypatch.setenv("CC", "clang -m64")
    assert toolchain.find_compiler().command == (str(tmp_path / "clang"), "-m64")
    monkeypatch.setenv("CC", "missing")
    assert toolchain.find_compiler().command == (str(tmp_path / "cc"),)
    monkeypatch.setenv(toolchain.CHOICE, "gcc")
    assert toolchain.find_compiler().command == (str(tmp_path / "gcc"),)


def test_no_shell_reads_the_command(script: Script, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(toolchain.CHOICE, f"{REAL[0]}; touch '{tmp_path}/made'")
    with pytest.warns(RuntimeWarning):
        assert library(SOURCE) is None
    assert not (tmp_path / "made").exists()


# The cache


def test_the_cache_is_its_owners_alone(folder: Path) -> None:
    half()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in libraries(folder)] == [0o600]


def test_a_cache_that_others_may_read_is_closed(folder: Path) -> None:
    folder.chmod(0o755)
    assert cache.cache_folder() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None])
def test_a_damaged_library_is_compiled_anew(
    folder: Path, script: Script, damage: bytes | None
) -> None:
    counter = script('exec $REAL "$@"')
    half()
    (path,) = libraries(folder)
    whole = path.read_bytes()
    path.unlink()  # the one that is loaded stays as it is
    path.write_bytes(whole[:-1] + b"!" if damage is None else damage)
    cache.forget()
    assert half() == 1.5
    assert runs(counter) == 2
    assert path.read_bytes() == whole


def evil(folder: Path) -> Path:
    """A library that answers 7, under the name of SOURCE's."""
    half(SOURCE.replace("x / 2", "7"))
    (path,) = libraries(folder)
    name = cache.key(SOURCE, toolchain.find_compiler())
    cache.forget()
    return path.rename(folder / f"{name}-{path.stem.rpartition('-')[2]}.so")


def test_a_library_of_its_own_user_is_taken_by_its_name(folder: Path) -> None:
    evil(folder)
    assert half() == 7  # so that the tests below mean something


def test_a_library_that_others_may_write_to_is_not_loaded(folder: Path) -> None:
    evil(folder).chmod(0o620)
    assert half() == 1.5


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_library_of_another_user_is_not_loaded(folder: Path) -> None:
    os.chown(evil(folder), 12345, -1)
    assert half() == 1.5


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    path = evil(folder)
    path.symlink_to(path.rename(tmp_path / "elsewhere.so"))
    assert half() == 1.5


@pytest.mark.parametrize("kind", ["open to others", "link", "file", "another's"])
def test_a_folder_that_is_not_safe_is_not_used(folder: Path, tmp_path: Path, kind: str) -> None:
    path = evil(folder)
    if kind == "open to others":
        folder.chmod(0o777)
    elif kind == "another's":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        os.chown(folder, 12345, -1)
    else:
        folder.rename(tmp_path / "elsewhere")
        if kind == "link":
            folder.symlink_to(tmp_path / "elsewhere")
        else:
            folder.touch()
    before = libraries(path.parent) if folder.is_dir() else []
    assert half() == 1.5
    assert describe()["cache"] is None
    assert "XDG_CACHE_HOME" in describe()["advice"][-1]
    assert (libraries(path.parent) if folder.is_dir() else []) == before


def test_without_a_home_nothing_is_written_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache"))
    assert half() == 1.5
    assert not (tmp_path / "~").exists()


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_cache_disk_means_a_library_for_this_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", full)
    assert half() == 1.5
    assert libraries(folder) == []


def test_a_cache_that_cannot_be_made_means_a_library_for_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "mkdir", full)
    assert half() == 1.5


def test_when_every_disk_is_full_numpy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", full)
    failure("No space left on device")


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a tiny disk")
@pytest.mark.parametrize("options", ["size=4k", "size=1m,ro", "size=1m,noexec"])
def test_a_disk_that_is_full_or_read_only_or_not_for_programs(folder: Path, options: str) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        assert half() == 1.5
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "replace", full)
    half()
    with pytest.warns(RuntimeWarning):
        library("this is not C")
    assert libraries(tmp_path / "temporary") == []


def test_the_cache_keeps_the_latest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_LIBRARIES", 2)
    for i in range(4):
        (folder / f"{i}.tmp").touch()  # of processes that were killed
        os.utime(folder / f"{i}.tmp", (i, i))
    half()
    assert len(libraries(folder)) == 2
    cache.forget()
    assert half() == 1.5


def test_processes_that_compile_the_same_at_once(folder: Path) -> None:
    program = (
        "import ctypes, sys; from tinygrad_np.native import library; sys.stdin.read(1);"
        f"f = library({SOURCE!r}).half; f.restype = ctypes.c_double; f.argtypes = [f.restype];"
        "print(f(3.0))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go")
        process.stdin.flush()
    assert [process.communicate()[0] for process in started] == ["1.5\n"] * 4
    assert len(libraries(folder)) == 1


def test_threads_that_ask_for_the_same_at_once(script: Script) -> None:
    counter = script('exec $REAL "$@"')
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(library(SOURCE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs(counter) == 1
    assert found == [found[0]] * 4


# The report


def test_what_is_reported() -> None:
    found = describe()
    assert found["compiler"] == " ".join(toolchain.find_compiler().command)
    assert found["version"] not in (None, "unknown")
    assert "-ffp-contract=off" in found["flags"]
    assert not any("fast" in flag for flag in found["flags"])
    assert found["advice"] == []


def test_a_python_without_a_lock_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cache, sys.modules["tinygrad_np.native.report"]):
        monkeypatch.setattr(module, "unavailable", lambda: "needs a lock")
    assert describe()["advice"] == ["Compiled functions run in NumPy: needs a lock."]
    failure("needs a lock")
