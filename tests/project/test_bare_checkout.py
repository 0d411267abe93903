"""A checkout that nobody installed, without jsonschema and simplejpeg: what the GPU benchmark does runs there too."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

class Absent:
    '''As if these packages were not there.'''

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jsonschema", "simplejpeg", "hatchling", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("jsonschema", "simplejpeg"):
    assert name not in sys.modules
sys.meta_path.insert(0, Absent())
real = sys.modules["importlib.util"] = __import__("importlib.util").util
find_spec = real.find_spec
real.find_spec = lambda name, package=None: None if name == "jsonschema" else find_spec(name, package)
"""
CHECK = """
from netspec.check import run

for result in run("relu", ("cpu",)) + run("lrn", ("cpu",)):
    assert result.status != "failed", result
    if result.name == "schema" and "no attributes" not in result.message:
        print(result.status, result.message)
"""
TRAIN = """
import io

import numpy as np
from PIL import Image

import netspec
from netspec.data import jpeg

file = io.BytesIO()
Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "JPEG")
assert jpeg.plain_frame(file.getvalue()) is None
netspec.run("quickstart", devices="cpu", out=sys.argv[1], iterations=2, overrides=("train.batch=4",))
print("trained")
"""


def _said(code: str, *args: str) -> str:
    command = [sys.executable, "-c", SCRIPT + code, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_contract_suite_says_what_it_could_not_check():
    assert _said(CHECK).startswith("skipped jsonschema is not installed")


def test_a_run_needs_neither(tmp_path):
    assert _said(TRAIN, str(tmp_path)).endswith("trained\n")
