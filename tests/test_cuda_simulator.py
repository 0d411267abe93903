"""CUDA kernels and the CUDA device in numba's simulator, which must be chosen before numba is imported."""

import os
import subprocess
import sys

from places import TESTS

FOLDER = TESTS / "simulated"


def test_in_the_simulator():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
