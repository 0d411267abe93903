"""The GPU tests, and more, on cards that are not there: numba-cuda's own host code on a stand-in for the driver.

Kernels run in netspec's emulator, as the PTX that numba-cuda compiles for a card; work of several streams, graphs and
cards runs in any order that its dependencies leave.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import TESTS
from stand_in import library

from netspec.device.gpus import finds_compiler, gpus

ROOT = TESTS.parent
QUICK = "slices or staging or captured or rates or too_much_memory or serial and iteration_on_a_gpu"
pytestmark = [
    pytest.mark.skipif(bool(gpus()), reason="the driver's library is this machine's own"),
    pytest.mark.skipif(library.compiler() is None, reason="no C compiler is found to make the stand-in with"),
    pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed: pip install 'netspec[gates]'"),
]


def _pytest(*arguments: str | Path, seed: int = 0) -> str:
    paths = os.pathsep.join(map(str, (TESTS / "stand_in" / "site", ROOT, TESTS, TESTS / "support")))
    environment = {**os.environ, "NETSPEC_CARDS": "2", "NETSPEC_SEED": str(seed), "PYTHONPATH": paths}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0 and "SKIPPED" not in done.stdout, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def test_the_quick_gpu_tests():
    _pytest("-m", "gpu", TESTS / "gpu", "-k", f"({QUICK}) and not beside")


def test_two_cards_faults_and_refusals():
    _pytest(TESTS / "stand_in" / "on_cards.py")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_networks_in_any_order(seed):
    _pytest("-m", "gpu", TESTS / "gpu", "-k", "not contract", seed=seed)


@pytest.mark.slow
def test_the_contract_of_every_layer():
    _pytest("-m", "gpu", TESTS / "gpu", "-k", "contract")
