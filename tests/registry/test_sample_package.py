"""The package in docs/examples: built as a wheel, installed where nothing else of it is, and used; all offline."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import process, python
from places import ROOT

SAMPLE = ROOT / "docs" / "examples" / "netspec-squareplus"
CHANGES = ("--set", "layers.relu1.type=squareplus", "--set", "data.source.val_images=64", "--iterations", "2")


def run(*command: object, cwd: Path) -> str:
    words = [str(word) for word in command]
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the sample alone."""
    for module in ("hatchling", "pip"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    place = tmp_path_factory.mktemp("sample")
    project = Path(shutil.copytree(SAMPLE, place / "project"))  # away from the checkout, whose files a build might find
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place / "dist", cwd=project)
    (wheel,) = (place / "dist").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place / "site")
    run(*pip, wheel, cwd=place)
    shutil.rmtree(project)
    return place / "site"


def beside(site: Path) -> str:
    """Where Python finds netspec and what is installed."""
    return os.pathsep.join((str(ROOT), str(site)))


def test_its_layer_is_there_where_it_is_installed_and_nowhere_else(site: Path) -> None:
    said = process("layers", "show", "squareplus", PYTHONPATH=beside(site))
    assert said.code == 0 and "y = (x + sqrt(x^2 + b)) / 2" in said.out and "Barron 2021" in said.out
    assert "squareplus" in process("layers", PYTHONPATH=beside(site)).out
    assert process("layers", "show", "squareplus").code == 1


def test_a_run_records_the_package_and_its_version(site: Path, tmp_path: Path) -> None:
    made = process("run", "quickstart", *CHANGES, "--out", tmp_path, PYTHONPATH=beside(site))
    assert made.code == 0, made.err
    (folder,) = (tmp_path / "quickstart").iterdir()
    (plugin,) = json.loads((folder / "environment.json").read_text())["plugins"]
    assert plugin["package"] == "netspec-squareplus 0.1.0" and plugin["module"] == "netspec_squareplus.squareplus"
    assert plugin["types"] == ["squareplus"]
    assert set(plugin["digests"]) == {"__init__.py", "_root.py", "squareplus.py"}
    assert not (folder / "plugins").exists()  # a package is installed again, by its version
    assert process("eval", folder, PYTHONPATH=beside(site)).code == 0
    without = process("eval", folder)
    assert without.code == 1 and "module netspec_squareplus.squareplus (netspec-squareplus 0.1.0)" in without.err


def test_the_tests_of_the_package_pass(site: Path) -> None:
    code = f"import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {str(SAMPLE / 'tests')!r}]))"
    said = python("-c", code, PYTHONPATH=beside(site))
    assert said.code == 0, said.out
