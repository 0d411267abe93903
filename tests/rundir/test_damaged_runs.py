"""A run directory may hold anything: every command ends, in a result or in messages that name the file.

With ``-m slow`` 2,000 damaged runs are tried.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import MINI, Said, netspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from run_damage import damage

FILES = [
    *("spec.yaml", "spec.resolved.yaml", "environment.json", "classes.txt", "mean.npy", "start.json", "metrics.jsonl"),
    *("log.txt", "history.jsonl", "lock", "tags.json", "checkpoints/iteration-00000006.safetensors"),
    *["checkpoints/iteration-00000012.safetensors"] * 3,
]
BINDING = ("--devices", "cpu:0,cpu:1")
OTHER = ("cannot resume the run", "its classes are not", "not classes of", "training takes one image input")
"""What is said of a record that is a good one, but of another run."""
MOST = 2_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of two checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mini.yaml").write_text(MINI)
    said = netspec("run", folder / "mini.yaml", "--workers", 0, "--out", folder / "runs", "--tag", "x", *BINDING)
    assert said.code == 0, said
    return next((folder / "runs" / "mini").iterdir())


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """What hangs fails."""

    def late(*args: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ended(said: Said, *names: str) -> None:
    """A result, or an error that names one of these."""
    assert said.code in (0, 1), said
    assert "Traceback" not in said.err and "internal error" not in said.err, said
    assert said.code == 0 or any(name in said.err for name in names), said


def judge(whole: Path, file: str, seed: int) -> None:
    """Damage a file of a copy of the run, and have every command look at it."""
    out = whole.parent.parent.parent / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    run = Path(shutil.copytree(whole, out / "mini" / whole.name))
    how = damage(run / file, random.Random(seed))
    name = Path(file).name
    before = {path: path.read_bytes() for path in run.rglob("elsewhere")}
    with within(120):
        listed = netspec("runs", "--out", out)
        assert listed.code == 0 and "Traceback" not in listed.err, (how, listed)
        ended(netspec("runs", "--out", out, "--json"), name)
        for command in (("curves", run), ("compare", run, whole), ("compare", whole, run), ("show", run, "--json")):
            ended(netspec(*command), name, run.name)
        ended(netspec("eval", run, "--workers", 0, *BINDING), name, *OTHER)
        ended(netspec("run", "--resume", run, "--workers", 0, "--epochs", 3, *BINDING), name, *OTHER)
    assert {path: path.read_bytes() for path in run.rglob("elsewhere")} == before, how


@settings(max_examples=min(settings.default.max_examples // 2, MOST))  # each is eight commands
@given(st.sampled_from(FILES), st.integers(0, 2**32))
@example(FILES[-1], 36400)  # a record of images of more classes than the network has
def test_damaged_runs(whole, file, seed):
    judge(whole, file, seed)
