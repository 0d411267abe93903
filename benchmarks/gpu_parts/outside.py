"""What runs in processes of its own, so that it can be ended when its time is up: tests, the sanitizer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SANITIZED = "iteration_on_a_gpu and serial or captured or slices or staging"
"""Tests small enough for a tool that makes kernels ten times slower."""
_COUNTED = re.compile(r"\d+ (passed|failed|errors?).* in \d")
_ENDED = 124
_PYTEST = (sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--no-header", "-p", "no:cacheprovider")


def tests(seconds: float) -> dict[str, Any]:
    """``pytest -m gpu``: the contract suite on the card, streams, graphs, copies.

    Each test in a process of its own: one that hangs, or spoils its card's context, costs no other its result.
    """
    end = time.perf_counter() + seconds
    if find_spec("pytest") is None:
        return {"answer": "pytest is not installed"}
    status, text = _run([*_PYTEST, "--collect-only", "tests/gpu"], seconds)
    names = [line for line in text.splitlines() if "::" in line]
    if status or not names:
        return {"failed": f"pytest cannot collect the tests (exit {status})", "log": text[-4000:]}
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        rows = list(pool.map(lambda name: _test(name, end), names))
    counts = Counter(str(row["outcome"]) for row in rows)
    rows = [row for row in rows if row["outcome"] != "passed"]
    return {"answer": ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()), "rows": rows}


def _test(name: str, end: float) -> dict[str, Any]:
    left = end - time.perf_counter()
    if left < 1:
        return {"test": name, "outcome": "not run", "said": "no time left"}
    status, text = _run([*_PYTEST, name], left)
    words = {0: "passed", 1: "failed", _ENDED: "ended"}
    outcome = "skipped" if status == 0 and " passed" not in text else words.get(status, f"exit {status}")
    lines = [line for line in text.splitlines() if line.startswith("E ") or (status not in (0, 1) and line.strip())]
    return {"test": name.rpartition("::")[2], "outcome": outcome, "said": " / ".join(lines[-6:])[:1000]}


def sanitizer(seconds: float) -> dict[str, Any]:
    """Small cases under compute-sanitizer's memcheck, where the CUDA toolkit has brought it."""
    places = (Path("/usr/local/cuda/bin"), *(Path(path) / "nvidia" / "cu13" / "bin" for path in sys.path if path))
    tool = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))
    if tool is None:
        return {"answer": "compute-sanitizer is not there"}
    memcheck = (tool, "--tool", "memcheck", "--error-exitcode", "9", "--target-processes", "all")
    # a warning, which is an error elsewhere, must not end the tests before their kernels have run
    status, text = _run([*memcheck, *_PYTEST, "-W", "default", "-k", SANITIZED, "tests/gpu"], seconds)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if line.startswith("=========")]
    tests = next((line for line in reversed(lines) if _COUNTED.search(line)), "no test ended")
    ended = f" (ended after {seconds:.0f} s)" if status == _ENDED else ""
    answer = f"{found[-1].strip('= ') if found else 'no output'}; {tests.strip('= ')}{ended}"
    return {"answer": answer, "exit": status, "said": found[:40] if status else []}


def _run(command: list[str], seconds: float) -> tuple[int, str]:
    """Exit status and output; 124 where the time was up."""
    folders = ("", "benchmarks", "tests", "tests/support")
    paths = (*(str(ROOT / folder) for folder in folders), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)
    try:
        text, _ = process.communicate(timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own processes too: they would keep the pipe open
        text, _ = process.communicate()
        return _ENDED, text
    return process.returncode, text
