"""Helpers of CPU kernels: taken in by kernels, never machine code of their own."""

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
