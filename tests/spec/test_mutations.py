"""Random changes of good specs give a Spec or an error for people, never anything else.

NETSPEC_MUTATIONS raises the number (400); NETSPEC_SEED chooses others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from spec_layers import TYPES
from spec_texts import NET, NET_OF_BLOCKS, PIECES

from netspec.errors import NetspecError, SpecError
from netspec.registry.kinds import layers as registry
from netspec.spec import load, loads, render, resolved

COUNT = int(os.environ.get("NETSPEC_MUTATIONS", "400"))
SEED = int(os.environ.get("NETSPEC_SEED", "1"))
OF_BLOCKS = """\
netspec: 1
extends: blocks.yaml
blocks:
  unit: {attributes: {filters: 8}, layers: [{name: act, type: relu}, {name: third, type: relu, after: act}]}
layers:
  - {name: unit2, filters: 32}
  - {name: convunit1, size: 3}
  - {name: unit1-act, remove: true}
  - {name: new, type: relu, after: both-one-act}
"""
EXTENDING = """\
netspec: 1
extends: net.yaml
layers:
  - {name: relu1, remove: true}
  - {name: new, type: relu, after: conv1}
  - {name: conv2, filters: 32, init: {type: he}}
  - {name: pool1, type: conv, filters: 16, size: 3}
train: {schedule: {type: step, at: [2, 3]}}
data: {source: {images: 10}}
"""

Mutation = Callable[[random.Random, str], str]


def replace_piece(rng: random.Random, text: str) -> str:
    """A few characters become a piece of YAML."""
    start = rng.randrange(len(text))
    return text[:start] + rng.choice(PIECES) + text[start + rng.randrange(4) :]


def replace_word(rng: random.Random, text: str) -> str:
    """A word becomes another."""
    words = text.split(" ")
    words[rng.randrange(len(words))] = rng.choice([*PIECES, *words])
    return " ".join(words)


def move_line(rng: random.Random, text: str) -> str:
    """A line is lost, doubled, moved or indented."""
    lines = text.split("\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), " " * rng.randrange(4) + line)
    return "\n".join(lines)


def cut(rng: random.Random, text: str) -> str:
    """The end is lost."""
    return text[: rng.randrange(len(text))]


MUTATIONS: list[Mutation] = [replace_piece, replace_word, replace_word, move_line, cut]


@pytest.fixture(autouse=True)
def fake_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests independent of the built-in layers."""
    monkeypatch.setattr(registry, "_types", dict(TYPES))
    monkeypatch.setattr(registry, "_files", ())


def mutate(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        text = rng.choice(MUTATIONS)(rng, text) or "\n"
    return text


def judge(run: Callable[[], object]) -> bool:
    """Whether it was taken for a good spec; errors must have places and be printable."""
    try:
        spec = run()
    except SpecError as error:
        assert error.problems and all(problem.mark for problem in error.problems)
        render(error).encode()
        return False
    except NetspecError as error:
        assert "\n" not in str(error)
        return False
    assert loads(resolved(spec)) == spec  # type: ignore[arg-type]
    return True


def test_mutated_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NET)
    Path("blocks.yaml").write_text(NET_OF_BLOCKS)
    good = 0
    for seed in range(SEED * 10**9, SEED * 10**9 + COUNT):
        rng = random.Random(seed)
        text = mutate(rng, rng.choice([NET, EXTENDING, NET_OF_BLOCKS, OF_BLOCKS]))
        Path("mutant.yaml").write_text(text, encoding="utf-8")
        good += judge(lambda: load("mutant.yaml"))
    assert 0 < good < COUNT


def test_mutated_bytes(tmp_path: Path) -> None:
    file = tmp_path / "mutant.yaml"
    for seed in range(COUNT // 4):
        rng = random.Random(seed)
        data = bytearray(NET.encode())
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
        judge(lambda: load(file))


def test_mutated_overrides() -> None:
    paths = [
        "layers.conv1.filters",
        "train.solver.momentum",
        "defaults.conv.init.std",
        "data.source.type",
        "data.augment.colour",
        "data.augment",
        "inputs.image.shape",
    ]
    for seed in range(COUNT // 2):
        rng = random.Random(seed)
        assignment = rng.choice(paths) + "=" + rng.choice(PIECES)
        assignments = [mutate(rng, assignment) for _ in range(rng.randrange(1, 3))]
        judge(lambda some=assignments: loads(NET, overrides=some))  # type: ignore[misc]
