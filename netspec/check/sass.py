"""What a GPU's machine code consists of: the instructions of a kernel, counted without a GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from netspec.check.ptx import Target, find_ptxas, ptx_of, record_of
from netspec.check.signatures import Signature

_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE)


def find_disassembler() -> str | None:
    """nvdisasm, beside ptxas or on PATH; None where there is none."""
    ptxas = find_ptxas()
    beside = Path(ptxas).parent / "nvdisasm" if ptxas else None
    return str(beside) if beside and beside.is_file() else shutil.which("nvdisasm")


def instructions(signature: Signature, capability: tuple[int, int]) -> Counter[str]:
    """How often each instruction, such as LDG.E.128, stands in the machine code of a kernel for those argument types.

    Raises CalledProcessError where the assembler refuses.
    """
    return Counter(_INSTRUCTION.findall(disassembled(signature, capability)))


def disassembled(signature: Signature, capability: Target) -> str:
    """The machine code of a kernel, in words; what was found before is kept on disk.

    Raises CalledProcessError where the assembler refuses.
    """
    record = record_of((signature, capability), "sass").with_suffix(".txt")
    if not record.is_file():
        found = _disassembled(ptx_of(signature, capability), f"sm_{''.join(map(str, capability))}")
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(found)
    return record.read_text()


def _disassembled(text: str, target: str) -> str:
    ptxas, disassembler = find_ptxas(), find_disassembler()
    assert ptxas is not None and disassembler is not None
    with tempfile.TemporaryDirectory() as folder:
        source, code = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(text)
        subprocess.run([ptxas, f"-arch={target}", source, "-o", code], capture_output=True, check=True, timeout=120)
        done = subprocess.run([disassembler, code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def wide_accesses(found: Counter[str]) -> tuple[int, int]:
    """Loads from and stores to the GPU's memory that move 128 bits a thread."""
    loads = sum(count for name, count in found.items() if re.match(r"LDG?\.\S*\b128\b", name))
    return loads, sum(count for name, count in found.items() if re.match(r"STG?\.\S*\b128\b", name))
