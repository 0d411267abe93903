"""Instruction mix of a kernel's machine code (SASS), counted without a GPU."""

from __future__ import annotations

import re
from collections import Counter

from netspec.gates.assemble import Target, disassembled
from netspec.gates.signatures import Signature

_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE)


def instructions(signature: Signature, capability: Target) -> Counter[str]:
    """How often each opcode, such as LDG.E.128, occurs in a kernel compiled for those argument types.

    Raises RuntimeError where the assembler refuses.
    """
    return Counter(_INSTRUCTION.findall(disassembled(signature, capability)))


def wide_accesses(found: Counter[str]) -> tuple[int, int]:
    """Loads from and stores to the GPU's memory that move 128 bits a thread."""
    loads = sum(count for name, count in found.items() if re.match(r"LDG?\.\S*\b128\b", name))
    return loads, sum(count for name, count in found.items() if re.match(r"STG?\.\S*\b128\b", name))
