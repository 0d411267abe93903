"""Plugins of pytest that happen to be installed do not stop a run, whatever they warn of."""

import os
import subprocess
import sys

import pytest
from places import ROOT

_PLUGIN = """
import warnings

def pytest_configure(config):
    warnings.warn("benchmarks are off", UserWarning)

def pytest_collection_modifyitems(items):
    warnings.warn("benchmarks are off", UserWarning)
"""


@pytest.mark.parametrize(("name", "code"), [("pytest_benchmark", 0), ("xdist", 0), ("netspec_plugin", 3)])
@pytest.mark.parametrize("chosen", ["not slow and not gpu", "gpu"])
def test_what_a_plugin_warns_of_is_no_error(tmp_path, name, code, chosen):
    """The last one shows that the warning would be."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "plugin.py").write_text(_PLUGIN)
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", f"{name}.plugin", "-p", "no:cacheprovider", "-m", chosen]
    command += ["--collect-only", "tests/machine/test_names.py"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    nothing = pytest.ExitCode.NO_TESTS_COLLECTED if chosen == "gpu" else 0
    assert done.returncode == (code or nothing), done.stdout + done.stderr
