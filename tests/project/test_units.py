"""Numbers become text for people in one place, netspec/units.py."""

from __future__ import annotations

import re

import pytest
from places import ROOT

FORBIDDEN = {
    "a percentage": r":\.\d%\}",
    "an amount with its unit": r"\} ?(?:[KMGT]iB|[kMGT]B|[kMGT]FLOP)(?:/s)?\b",
    "a plural of a single noun": r"'e?s' \* \(|\"e?s\" \* \(",
    "a number before a plural": r"\{[^{}]*(?::,|len\(|count\()[^{}]*\} (?:[a-z]+ )?(?:images|classes|layers|steps|shards|runs|queues)\b",
}
OWN_WORDS = ("netspec/emulate", "netspec/gates")
"""Where numbers are for those who write kernels."""


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nobody_else_formats(what):
    every = [file for folder in ("netspec", "layers", "runners") for file in (ROOT / folder).rglob("*.py")]
    files = [file for file in every if not str(file.relative_to(ROOT)).startswith(OWN_WORDS)]
    assert len(files) > 200
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if re.search(FORBIDDEN[what], line) and "many(" not in line
    ]
    assert not found, "\n".join(found)
