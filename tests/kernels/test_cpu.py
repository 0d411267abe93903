"""Helpers of CPU kernels: taken in by kernels, never machine code of their own. References are not counted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netspec.kernels import cpu
from netspec.plugin import device


@device
def checked(values: Any, i: Any) -> Any:
    if values[i] > 3:
        raise ValueError("too large", i)
    return values[i]


def copy(start: Any, stop: Any, x: Any, y: Any) -> None:
    for i in range(start, stop):
        y[i] = checked(x, i)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: Any, tmp_path: Path) -> Iterator[None]:
    """Nothing is compiled yet."""
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    forget(monkeypatch)
    yield
    cpu.compile_cpu.cache_clear()


def forget(monkeypatch: Any) -> None:
    monkeypatch.setattr(cpu, "_compiled", {})
    cpu.compile_cpu.cache_clear()


def test_what_a_helper_raises_with_values_reaches_the_caller(monkeypatch: Any) -> None:
    """Numba puts such an exception together from constants that belong to the helper, not to the kernel."""
    x, y = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    for _ in range(2):  # compiled, and loaded from the cache
        with pytest.raises(ValueError) as error:
            cpu.compile_cpu(copy, "float32")(0, 6, x, y)
        assert error.value.args == ("too large", 4)
        assert y.tolist() == [0, 1, 2, 3, 0, 0]
        forget(monkeypatch)


def test_helpers_have_no_machine_code_of_their_own(monkeypatch: Any) -> None:
    """They would be optimised and compiled once more for nothing: a third of the time of a first run."""
    made: list[str] = []
    generate = cpu.JITCodeLibrary._finalize_specific

    def noted(library: Any) -> None:
        made.append(library.name.partition("_")[0])
        generate(library)

    monkeypatch.setattr(cpu.JITCodeLibrary, "_finalize_specific", noted)
    x = np.zeros(2, np.float32)
    cpu.compile_cpu(copy, "float32")(0, 2, x, x)
    assert "copy" in made and "checked" not in made


@device
def row(x: Any, i: Any) -> Any:
    return x[i]


def sums(start: Any, stop: Any, x: Any, y: Any) -> None:
    for i in range(start, stop):
        total = np.empty(x.shape[1], np.float32)
        total[:] = row(x, i)
        y[i] = total.sum()


def doubled(start: Any, stop: Any, x: Any, y: Any) -> None:
    for i in range(start, stop):
        line = x[i]
        for j in range(line.size):
            y[i, j] = 2.0 * line[j]


def views(start: Any, stop: Any, x: Any) -> Any:
    return x[start:stop], stop


def test_kernels_count_no_references() -> None:
    """Counting is a tenth of what there is to compile, and of no use where nothing is allocated."""
    array = cpu.type_of(np.zeros((2, 3), np.float32))
    assert "NRT_" not in cpu.llvm_of(doubled, "float32", (cpu.type_of(0),) * 2 + (array,) * 2)


@pytest.mark.parametrize("from_cache", [False, True])
def test_what_a_kernel_allocates_it_frees(monkeypatch: Any, from_cache: bool) -> None:
    from numba.core.runtime import _nrt_python as runtime

    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros(4, np.float32)
    if from_cache:
        cpu.compile_cpu(sums, "float32")(0, 4, x, y)
        forget(monkeypatch)
    kernel = cpu.compile_cpu(sums, "float32")
    kernel(0, 0, x, y)  # compiled or loaded by that
    runtime.memsys_enable_stats()  # and for good: netspec.check turns them on once a process
    before = cpu.rtsys.get_allocation_stats()
    kernel(0, 4, x, y)
    after = cpu.rtsys.get_allocation_stats()
    assert y.tolist() == [3, 12, 21, 30]
    assert after.alloc - before.alloc == after.free - before.free >= 4


def test_views_that_are_given_to_python_hold_their_array() -> None:
    kernel = cpu.compile_cpu(views, "float32")
    kept = [kernel(i, i + 2, np.full(4, i, np.float32))[0] for i in range(3)]
    assert [view.tolist() for view in kept] == [[0, 0], [1, 1], [2, 2]]


_RUNTIME = """
import numpy as np
from netspec.kernels.cpu import Entry, compile_cpu, rtsys, type_of
from netspec.layers._cpu.bias_row import bias_row
from netspec.layers._cpu.split_batch import d_weight_sum
from {module} import allocates

x = np.arange(6, dtype=np.float32).reshape(2, 3)
row, total, sums = np.ones((1, 4), np.float32), np.empty(3, np.float32), np.zeros(3, np.float32)
for function, *given in ((bias_row.function, x[0], row, 1), (d_weight_sum.function, x, total), (allocates, x, sums)):
    arguments = (0, 1 if function is bias_row.function else 3, *given)
    Entry(compile_cpu(function, "float32"), tuple(map(type_of, arguments)))(*arguments)
    print(rtsys._init, end=" ")
print(row.tolist(), total.tolist(), sums.tolist())
"""


def test_the_runtime_is_compiled_for_stored_code_that_allocates_alone(tmp_path: Path) -> None:
    (tmp_path / "allocating.py").write_text(
        "def allocates(start, stop, x, y):\n    copy = x[0].copy()\n    for i in range(start, stop): y[i] = copy[i]\n"
    )
    env = {**os.environ, "NETSPEC_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    script = [sys.executable, "-W", "ignore", "-c", _RUNTIME.format(module="allocating")]
    told = [subprocess.run(script, env=env, capture_output=True, text=True).stdout for _ in range(2)]
    values = "[[0.0, 1.0, 2.0, 0.0]] [3.0, 5.0, 7.0] [0.0, 1.0, 2.0]\n"
    assert told == [f"True True True {values}", f"False False True {values}"]
