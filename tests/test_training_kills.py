"""SIGKILL at random moments: whatever was killed goes on to the same parameters, bit by bit.

NETSPEC_KILLS sets the number of kills (4 by default; 200 take a few minutes), NETSPEC_KILLS_SEED the moments.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from training_runs import SPEC

KILLS = int(os.environ.get("NETSPEC_KILLS", "4"))
SEED = int(os.environ.get("NETSPEC_KILLS_SEED", random.randrange(2**32)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_is_as_never_killed(tmp_path):
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC.replace("images: 44", "images: 200").replace("epochs: 3", "epochs: 4"))
    script = Path(__file__).with_name("training_kills.py")
    command = [sys.executable, str(script), str(spec), str(tmp_path), str(KILLS), str(SEED)]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # none may run when the script forks
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"{KILLS} kills"), f"seed {SEED}\n{done.stdout}{done.stderr}"
