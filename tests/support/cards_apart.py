"""Processes of their own that find the stand-in for the CUDA driver, and pytest in one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, TESTS
from stand_in import library

from netspec.kernels.toolkit import finds_compiler

SITE = TESTS / "stand_in" / "site"
needs_stand_in = [
    pytest.mark.skipif(library.compiler() is None, reason="no C compiler is found to make the stand-in with"),
    pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed: pip install 'netspec[gates]'"),
]


def environment(cards: int, *paths: Path, seed: int = 0) -> dict[str, str]:
    """Variables by which a process finds so many cards, and modules in these folders."""
    folders = os.pathsep.join(map(str, (SITE, ROOT, *paths)))
    return {**os.environ, "NETSPEC_CARDS": str(cards), "NETSPEC_SEED": str(seed), "PYTHONPATH": folders}


def pytest_on_cards(*arguments: str | Path, seed: int = 0) -> None:
    """Run tests on two cards; none may fail or be skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    variables = environment(2, TESTS, TESTS / "support", seed=seed)
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0 and "SKIPPED" not in done.stdout, done.stdout[-8000:] + done.stderr[-2000:]
