"""The threads of compiled programs: parts, flags, nested and forked calls."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from tests.forked import holds_in_a_forked_process
from tinygrad_np import native

pytestmark = pytest.mark.skipif(
    bool(native.unavailable()) or not native.pool("run_in_parts"),
    reason="there is no C compiler",
)
SOURCE = f"""#define BLAS_INT {native.blas_integer()}
{native.RUNTIME}
{native.PARALLEL}
#include <sched.h>
#include <stdatomic.h>
Loop pool;
static _Atomic int ran[THREADS], elsewhere;
static _Thread_local int of_caller;

static void count(void **operands, isize part, isize parts) {{ ran[part]++; }}

/* The caller's part waits for a part on another thread, where 1e300 overflows. */
static void overflow(void **operands, isize part, isize parts)
{{
    if (!of_caller) {{
        volatile double big = 1e300;
        big *= big;
        elsewhere = 1;
    }}
    while (parts > 1 && !elsewhere)
        sched_yield();
}}
static void nested(void **operands, isize part, isize parts)
{{
    if (parallel(pool, 2, count, operands) != 1)
        ran[2]++;
}}

int counted(isize most, int part)
{{
    for (int k = 0; k < THREADS; k++)
        ran[k] = 0;
    const int parts = parallel(pool, most, count, NULL);
    return part < 0 ? parts : ran[part];
}}
int overflows(void)
{{
    of_caller = 1, elsewhere = 0;
    set_flags(0);
    parallel(pool, 2, overflow, NULL);
    return elsewhere ? flags() : -1;
}}
int nests(int part)
{{
    ran[0] = ran[1] = ran[2] = 0;
    parallel(pool, 2, nested, NULL);
    return ran[part];
}}
int over(void) {{ return OVER; }}
"""


@pytest.fixture(scope="module")
def tasks() -> Any:
    found = native.library(SOURCE)
    assert found is not None
    ctypes.c_void_p.in_dll(found, "pool").value = native.pool("run_in_parts")
    return found


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    with threadpool_limits(count, "blas"):
        yield


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_part_is_done_once(tasks: Any, count: int) -> None:
    with threads(count):
        for most in (1, 2, 3, 100):
            parts = min(count, most)
            for _ in range(200):
                assert tasks.counted(most, -1) == parts
            assert [tasks.counted(most, k) for k in range(6)] == [k < parts for k in range(6)]


def test_flags_of_another_thread_reach_the_caller(tasks: Any) -> None:
    with threads(2):
        assert tasks.overflows() == tasks.over()


def test_a_task_inside_a_task_is_done_by_its_caller(tasks: Any) -> None:
    with threads(2):
        assert [tasks.nests(k) for k in range(3)] == [2, 0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_starts_threads_of_its_own(tasks: Any) -> None:
    with threads(2):
        assert tasks.overflows() == tasks.over()
        assert holds_in_a_forked_process(lambda: tasks.overflows() == tasks.over())
        assert tasks.overflows() == tasks.over()
