"""Whether CPUs store bfloat16: what the environment says, what the processor has, and whether it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netspec.device.binding import available, capabilities
from netspec.device.cpu import bfloat16_unit
from netspec.device.cpu.bfloat16_unit import cpu_bfloat16
from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError

Setting = Callable[[str], None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    """Sets the variable for a new decision."""

    def set_to(value: str) -> None:
        monkeypatch.setenv("NETSPEC_CPU_BF16", value)
        cpu_bfloat16.cache_clear()

    yield set_to
    monkeypatch.undo()
    cpu_bfloat16.cache_clear()


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: Setting) -> Callable[..., None]:
    """Stands for one with the unit, of so many times the rate of float32, or for one without."""
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))

    def stand_in(gain: float | None) -> None:
        monkeypatch.setattr(bfloat16_unit, "_has_unit", lambda: gain is not None)
        monkeypatch.setattr(bfloat16_unit, "_timed", lambda: gain)
        says("")

    return stand_in


def test_the_environment_decides(says: Setting) -> None:
    for value, unit, words in (
        ("off", None, "computes in float32"), ("emulate", "emulated", "stored, products in float32")
    ):  # fmt: skip
        says(value)
        assert CpuDevice(0).capability == unit == capabilities({"main": "cpu:0"}, "bf16")["main"]
        assert capabilities({"main": "cpu:0"}, "float32")["main"] is None
        assert available()[-1].bf16 == words
    says("on")
    with pytest.raises(NetspecError, match="NETSPEC_CPU_BF16 is 'on': it may be off or emulate"):
        cpu_bfloat16()


def test_bfloat16_is_stored_where_it_is_faster(processor: Callable[..., None], tmp_path: Path) -> None:
    for number, (gain, unit) in enumerate(((2.0, "avx512_bf16"), (0.5, "weights"), (None, "weights"))):
        bfloat16_unit_file(tmp_path).unlink(missing_ok=True)
        processor(gain)
        assert cpu_bfloat16() == unit, number


def bfloat16_unit_file(folder: Path) -> Path:
    return folder / "tuned" / "bfloat16-units.json"


def test_what_was_timed_is_kept_for_the_model(
    processor: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processor(2.0)
    assert cpu_bfloat16() == "avx512_bf16"
    processor(0.5)
    assert cpu_bfloat16() == "avx512_bf16"
    monkeypatch.setattr(bfloat16_unit, "processor", lambda: "another")
    cpu_bfloat16.cache_clear()
    assert cpu_bfloat16() == "weights"
    bfloat16_unit_file(tmp_path).write_text("{damaged")
    cpu_bfloat16.cache_clear()
    assert cpu_bfloat16() == "weights"


@pytest.mark.parametrize("features", ["", "+avx2,+fma", "+avx512f,+avx512vl,-avx512bf16"])
def test_what_kernels_are_not_compiled_for_is_not_there(
    features: str, monkeypatch: pytest.MonkeyPatch, says: Setting
) -> None:
    monkeypatch.setattr(bfloat16_unit, "_target", lambda: ("x86-64", features))
    says("")
    assert cpu_bfloat16() == "weights"


@pytest.mark.skipif(not bfloat16_unit._has_unit(), reason="the processor has no unit for bfloat16")
def test_the_unit_is_timed() -> None:
    gain: Any = bfloat16_unit._timed()
    assert gain > 0
