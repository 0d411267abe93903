"""``netspec export`` as a user meets it, and the Python of the pages on exports and checkpoints."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import MINI, netspec
from PIL import Image
from places import ROOT

import netspec as ns
from netspec.units import size

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "mini.yaml").write_text(MINI)
    return ns.run(folder / "mini.yaml", out=folder / "runs", devices="cpu:0,cpu:1").folder


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def test_a_run_becomes_a_file_that_says_what_predict_says(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    said = netspec("export", run, "-o", file)
    assert said.code == 0, said.err
    assert size(file.stat().st_size) in said.out
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    session = runtime.InferenceSession(str(file))
    (probs,) = session.run(None, {"image": images})
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    for row, seen in zip(probs, ns.predict(run, list(images), top=3), strict=True):
        expected = [dict(seen.top)[name] for name in about["classes"]]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5)
    assert about["images"] == {"image": {"resize": 8, "crop": [8, 8], "channels": "RGB"}}
    assert about["iteration"] == 12


def test_json_names_file_and_checkpoint(run: Path, tmp_path: Path) -> None:
    said = netspec("export", run, "-o", tmp_path / "net.onnx", "--json")
    told = json.loads(said.out)
    assert set(told) == {"file", "checkpoint", "nodes", "bytes", "module"}
    assert Path(told["checkpoint"]).parent == run / "checkpoints"


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("net.pt", r"must end in \.onnx or \.safetensors"),
        ("nowhere/net.onnx", "there is no folder"),
        ("taken.onnx", "is a directory"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(run: Path, tmp_path: Path, out: str, reason: str) -> None:
    (tmp_path / "taken.onnx").mkdir()
    said = netspec("export", run, "-o", tmp_path / out)
    assert said.code == 1
    assert re.search(reason, said.err)
    assert "Traceback" not in said.err


def test_no_run_no_file(tmp_path: Path) -> None:
    said = netspec("export", tmp_path, "-o", tmp_path / "net.onnx")
    assert said.code == 1
    assert "no checkpoint there" in said.err
    assert not (tmp_path / "net.onnx").exists()


def test_the_page_on_exports_holds(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ns.export(run, tmp_path / "net.onnx")
    coarse = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(coarse).resize((48, 32), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    use, _, plugin = blocks("export.md")
    seen, scope = ns.predict(run, "photo.png", top=3)[0].top, dict[str, Any]()
    assert said_by(use, scope).strip() == seen[0][0]
    expected = [dict(seen)[name] for name in scope["classes"]]
    np.testing.assert_allclose(scope["probs"][0], expected, rtol=0, atol=5e-3)  # Pillow rounds at the edges of a box
    (of_centre,) = scope["session"].run(None, {"image": cut_at_centre("photo.png")})
    assert np.abs(of_centre[0] - expected).max() > 0.02  # what a crop without resizing would give
    (tmp_path / "scaled.py").write_text(PLUGIN + plugin)
    (tmp_path / "scaled.yaml").write_text(MINI.replace("{name: relu1, type: relu}", "{name: relu1, type: scaled}"))
    own = ns.run(tmp_path / "scaled.yaml", out=tmp_path, devices="cpu:0,cpu:1", plugins=["scaled.py"]).folder
    ns.export(own, tmp_path / "scaled.onnx", plugins=["scaled.py"])
    nodes = onnx.load(tmp_path / "scaled.onnx").graph.node
    assert [node.name for node in nodes if node.op_type == "Mul"][1:] == ["relu1.Mul"]


def cut_at_centre(file: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(file))[None, 12:20, 20:28]


PLUGIN = '''
from netspec.plugin import Elementwise, number, register


@register("scaled")
class Scaled(Elementwise):
    """y = factor * x"""

    attrs = {"factor": number("Factor.", default=0.5)}

    def forward(x, factor):
        return x * factor

    def backward(dy, factor):
        return dy * factor

'''


def test_a_checkpoint_is_read_with_numpy_alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import load_file

    source = next((run / "checkpoints").iterdir())
    (tmp_path / "net.safetensors").write_bytes(source.read_bytes())
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("checkpoints.md")
    scope: dict[str, object] = {}
    said_by(block.replace("conv1", "fc1"), scope)
    expected, found = load_file(source), scope["tensors"]
    assert isinstance(found, dict)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def said_by(code: str, scope: dict[str, object] | None = None) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, scope if scope is not None else {})
    return out.getvalue()
