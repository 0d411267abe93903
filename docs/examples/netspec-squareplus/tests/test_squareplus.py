"""What the package's author runs: ``pip install -e . pytest && pytest``."""

import subprocess
import sys

import netspec


def test_it_passes_the_contract_suite():
    """Shapes, gradients against differences in float64, NaN, teams, shards; CUDA kernels too where they compile."""
    check = [sys.executable, "-m", "netspec", "layers", "check", "squareplus"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_specs_can_name_it():
    """A plan needs no device."""
    spec = netspec.load("quickstart", ["layers.relu1.type=squareplus", "layers.relu1.b=1.0"])
    assert spec.layer("relu1").type == "squareplus"
    assert netspec.plan(spec).steps
