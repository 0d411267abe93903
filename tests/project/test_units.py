"""Numbers become text for people in one place, netspec/units.py."""

from __future__ import annotations

import re

import pytest
from places import ROOT

from netspec import units

FORBIDDEN = {
    "a percentage": r":\.\d%\}",
    "an amount with its unit": r"\} ?(?:[KMGT]iB|[kMGT]B|[kMGT]FLOP)(?:/s)?\b",
    "a plural of a single noun": r"'e?s' \* \(|\"e?s\" \* \(",
    "a number before a plural": (
        r"\{[^{}]*(?::,|len\(|count\()[^{}]*\} (?:[a-z]+ )?(?:images|classes|layers|steps|shards|runs|queues)\b"
    ),
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


def test_a_noun_agrees_with_its_number():
    told = [units.many(0, "image"), units.many(1, "image"), units.many(1200, "image"), units.many(2, "class")]
    assert told == ["0 images", "1 image", "1,200 images", "2 classes"]
    assert [units.plural(noun) for noun in ("entry", "key", "pass")] == ["entries", "keys", "passes"]


def test_amounts_and_rates_of_bytes():
    assert [units.size(11_075_584), units.size(2**20), units.size(1000)] == ["10.6 MiB", "1.00 MiB", "1000 B"]
    assert [units.throughput(45.67e9), units.throughput(0)] == ["45.7 GB/s", "0 B/s"]
    assert [units.scaled(1.456e9, "FLOP"), units.scaled(12, "FLOP")] == ["1.46 GFLOP", "12 FLOP"]
    assert [units.significant(2.302585), units.views(1), units.views(10)] == ["2.303", "centre crop", "10 views"]
