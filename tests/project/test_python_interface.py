"""The public functions as an editor, a type checker and ``help`` see them."""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from places import PLUGINS, ROOT

import netspec

FUNCTIONS = [name for name in netspec.__all__ if inspect.isfunction(getattr(netspec, name))]
SCRIPT = '''
"""What a user writes who has mypy check it strictly."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import netspec
from netspec import Prediction, Run, Spec
from netspec.events import Event, IterationDone


def listen(event: Event) -> None:
    if isinstance(event, IterationDone):
        print(event.loss)


def best(found: list[Prediction]) -> tuple[str, float]:
    return found[0].top[0]


spec: Spec = netspec.load("quickstart", ["train.epochs=1"], plugins=["swish.py"])
steps = [step.name for step in netspec.plan("quickstart").steps]
output: tuple[int, ...] = netspec.plan(spec, "predict", batch=1).shards[0].outputs["y"]
run: Run = netspec.run(spec, data=Path("photos"), devices="cpu:0,cpu:1", listener=listen)
losses: NDArray[np.float64] = run.history.training["loss"]
name, share = best(netspec.predict(run, ["a.jpg", Path("b.jpg"), Image.new("RGB", (8, 8))]))
batch: NDArray[np.uint8] = np.zeros((4, 32, 32, 3), np.uint8)
probabilities: NDArray[np.float32] = run.model(batch)
with netspec.predictor(run.folder, batch=1) as model:
    top: str = model.predict(np.zeros((9, 9, 3), np.uint8), top=1)[0].top[0][0]
again = netspec.run(None, resume=run)
error: float = netspec.evaluate([run, again.folder], views=10).rates["top1"].share
values: NDArray[np.float32] = netspec.features(run).values
places: NDArray[np.int64] = netspec.nearest(values, values[:1], 6).places
seconds: float = netspec.open_run("runs/quickstart").seconds
for trial in netspec.sweep([spec], seeds=[0, 1], vary={"train.sgd.momentum": [0.8, 0.9]}):
    print(trial.group, trial.errors["top1"])
rate: float | None = netspec.lr_find(spec).suggestion
size: int = netspec.export(run, "net.onnx").bytes
'''
WRONG = '''
import netspec

netspec.plan("quickstart", phase="training")
netspec.run("quickstart", epoch=3)
netspec.predict("runs/a", [3])
netspec.plan("quickstart").step
netspec.Model
'''


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has netspec as a wheel lays it out, and beside it all that this one has."""
    folder = tmp_path_factory.mktemp("site")
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "netspec").mkdir()
    for part in [*(ROOT / "netspec").iterdir(), ROOT / "layers", ROOT / "runners"]:
        (site / "netspec" / part.name).symlink_to(part)
    (site / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Path(sysconfig.get_path("scripts", vars={"base": str(folder)})) / "python"


def checked(python: Path, text: str, folder: Path) -> str:
    """What mypy --strict says of a script."""
    pytest.importorskip("mypy", reason="needs pip install 'netspec[dev]'")
    (folder / "script.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--python-executable", python]
    done = subprocess.run([*command, "script.py"], cwd=folder, capture_output=True, text=True, timeout=600)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_script_of_a_user_passes_mypy_and_a_wrong_one_does_not(python: Path, tmp_path: Path) -> None:
    assert checked(python, SCRIPT, tmp_path).startswith("Success")
    said = checked(python, WRONG, tmp_path)
    assert re.findall(r"^script.py:(\d+): error", said, re.MULTILINE) == ["4", "5", "6", "7", "8"], said


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "netspec" / "py.typed").is_file()


def test_no_public_name_is_a_module_too() -> None:
    """``netspec.plan`` is the same thing before and after whatever is imported."""
    modules = {file.stem for part in ("netspec", ".") for file in (ROOT / part).iterdir()}
    assert len(modules) > 20 and not modules & set(netspec.__all__)


@pytest.mark.parametrize("name", netspec.__all__)
def test_every_public_name_is_told_by_help(name: str) -> None:
    thing = getattr(netspec, name)
    assert thing.__doc__ and name in dir(netspec)
    assert name in pydoc.plain(pydoc.render_doc(thing))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_name_and_type_every_argument(name: str) -> None:
    signature = inspect.signature(getattr(netspec, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for one in signature.parameters.values():
        assert one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        assert one.annotation is not one.empty, one
    assert "Any" not in str(signature).replace("AnyPath", "").replace("AnyImage", "").replace("Sequence[Any]", "")


def test_a_spec_is_loaded_with_the_plugins_that_it_names() -> None:
    centred = [PLUGINS / "centred.py"]
    assert netspec.load("quickstart", "layers.relu1.type=centred", plugins=centred).layer("relu1").type == "centred"


def test_help_shows_the_functions_as_they_are_called() -> None:
    told = pydoc.plain(pydoc.render_doc(netspec))
    plan = "plan(spec: 'Spec | str | Path', phase: 'Phase' = 'train', batch: 'int | None' = None) -> 'Plan'"
    assert "".join(plan.split()) in "".join(told.split())  # Python 3.13 folds it
    assert all(re.search(rf"^    {name}\(", told, re.MULTILINE) for name in FUNCTIONS)


def test_a_plan_is_of_a_phase_that_there_is() -> None:
    with pytest.raises(netspec.NetspecError, match="there is no 'trian': one of train, eval, predict"):
        netspec.plan("quickstart", "trian")  # type: ignore[arg-type]
