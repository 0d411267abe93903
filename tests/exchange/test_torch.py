"""Modules and state dicts for PyTorch, and from it, against netspec's own prediction."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import MINI
from exchange_nets import CASES, LIGHT, SPECS, drawn, inputs, single, spec_file
from nets import TWO_TOWERS, network
from PIL import Image
from places import ROOT
from random_nets import write

import netspec as ns
from netspec.check.subject import Case
from netspec.exchange import tensor_file
from netspec.exchange.formats import Asked
from netspec.exchange.merging import evaluated
from netspec.exchange.torch_code import RESERVED
from netspec.exchange.torch_module import TorchForm
from netspec.runners.execution.session import Session
from netspec.runners.importing import import_network
from netspec.runners.training.checkpoint import read
from netspec.spec import loads
from netspec.spec.types import Spec

torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
pytestmark = pytest.mark.torch
BATCH = 3


def module_of(form: TorchForm, arrays: Mapping[str, Any], folder: Path) -> Any:
    """What the written files make: the network with its weights."""
    there = {name: one.there(evaluated(form.spec, arrays, one.source)) for name, one in form.tensors.items()}
    folder.mkdir(exist_ok=True)
    (folder / "net.safetensors").write_bytes(b"".join(map(bytes, tensor_file.pieces({"format": "pt"}, there))))
    (folder / "net.py").write_text(form.source("A network.", "net.safetensors", []))
    return imported(folder / "net.py").load()


def imported(file: Path) -> Any:
    place = importlib.util.spec_from_file_location("written", file)
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def channels_first(array: Any) -> Any:
    """As PyTorch has images, sequences and all else."""
    array = torch.from_numpy(np.ascontiguousarray(array))
    return array.movedim(-1, -3) if array.ndim in (4, 5) else array


def both(spec: Spec, folder: Path, seed: int = 0, batch: int = BATCH) -> tuple[Any, Any]:
    """What netspec predicts over the spec's devices, and what the written module does."""
    devices = [f"cpu:{i}" for i in range(len(spec.devices))]
    with Session(spec, devices, phases=("predict",), eval_batch=batch) as session:
        arrays = drawn(session.store.shapes(), seed)
        session.store.load(arrays)
        feeds = inputs(spec, seed, batch)
        ours = session.predict(feeds, batch).copy()
    form = TorchForm(spec)
    net = module_of(form, arrays, folder)
    given = [channels_first(feeds[name]) for name, _ in form.arguments().values()]
    with torch.inference_mode():
        theirs = (net.predict if hasattr(net, "predict") else net)(*given)
    return ours, (theirs.movedim(-3, -1) if theirs.ndim in (4, 5) else theirs).numpy()


def check(spec: Spec, folder: Path, seed: int = 0) -> None:
    for batch in (1, BATCH):
        ours, theirs = both(spec, folder, seed, batch)
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*LIGHT, "figure1-tanh", "figure1-logistic"])
def test_shipped_specs_give_the_same_probabilities(name: str, tmp_path: Path) -> None:
    check(spec_file(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in SPECS.glob("*.yaml")} - set(LIGHT)))
def test_all_other_shipped_specs_do(name: str, tmp_path: Path) -> None:
    check(spec_file(name), tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_of_all_layers_over_two_devices_and_one(seed: int, tmp_path: Path) -> None:
    two, one = (loads(text, "random.yaml") for text in write(seed))
    check(two, tmp_path, seed)
    check(one, tmp_path, seed)


@pytest.mark.parametrize("case", CASES)
def test_each_layer_by_its_examples(case: Case, tmp_path: Path) -> None:
    ours, theirs = both(single(case.cls.type, case.attrs, [one.shape for one in case.inputs]), tmp_path)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_a_module_of_pytorch_has_no_name_that_a_layer_may_get() -> None:
    assert {name for name in dir(torch.nn.Module) if not name.startswith("_")} <= RESERVED
    text = TWO_TOWERS.replace("conv1", "half").replace("relu1", "_in")
    form = TorchForm(network(text))
    assert "half_.weight" in form.tensors


def test_a_written_network_trains(tmp_path: Path) -> None:
    spec = network(TWO_TOWERS)
    with Session(spec, ["cpu:0", "cpu:1"], phases=("predict",)) as session:
        net = module_of(TorchForm(spec), drawn(session.store.shapes(), 0), tmp_path).train()
    image = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(net(image), torch.arange(4) % 2)
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.01 * parameter.grad
                parameter.grad = None
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# In -----------------------------------------------------------------------------------------------------------------

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spec"), [("alexnet", "alexnet-torchvision"), ("vgg16", "vgg16"), ("resnet18", "resnet18-torchvision")]
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_networks_of_torchvision_load_into_their_specs(name: str, spec: str, ending: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = getattr(models, name)(weights=None).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # so large that every layer counts
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.normal_(0, (2 / fan) ** 0.5 if parameter.ndim > 1 else 0.1)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 2)
    file = tmp_path / f"net{ending}"
    save_file(net.state_dict(), file) if ending == ".safetensors" else torch.save(net.state_dict(), file)
    plain = {"spec": spec, "overrides": "data.resize=224"}  # images are seen as they are
    made = ns.import_network(file, tmp_path / "out.safetensors", **plain, mean=MEAN, std=STD)
    counters = [name for name in net.state_dict() if name.endswith("num_batches_tracked")]
    assert list(made.left) == counters and len(made.taken) == len(net.state_dict()) - len(counters)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    given = (channels_first(images).float() / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    with torch.inference_mode():
        theirs = net(given).softmax(1).numpy()
    for row, seen in zip(theirs, ns.predict(made.file, list(images), top=1000), strict=True):
        ours = [dict(seen.top)[str(i)] for i in range(1000)]
        np.testing.assert_allclose(ours, row, rtol=1e-3, atol=1e-5)
    assert np.ptp(theirs) > 0.01


def test_checkpoints_of_training_programs_have_their_state_dict_inside(tmp_path: Path) -> None:
    form = TorchForm(network(TWO_TOWERS))
    state = {name: torch.zeros(one.shape, dtype=torch.bfloat16) for name, one in form.tensors.items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "net.pt")
    made = import_network(tmp_path / "net.pt", tmp_path / "out.safetensors", Asked(network(TWO_TOWERS)))
    assert set(made.taken) == set(form.tensors)


class Runs:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> Any:
        return print, ("code of the file has run",)


def test_a_file_that_would_run_code_runs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1.weight": Runs()}, tmp_path / "net.pt")
    with pytest.raises(ns.NetspecError, match="no state dict that can be read safely"):
        import_network(tmp_path / "net.pt", tmp_path / "out.safetensors", Asked(network(TWO_TOWERS)))
    assert "has run" not in capsys.readouterr().out


def test_a_tensor_that_is_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1, dtype=torch.bfloat16).expand(2**40)}, tmp_path / "net.pt")
    with pytest.raises(ns.NetspecError, match=r"'conv1\.weight' is no plain tensor"):
        import_network(tmp_path / "net.pt", tmp_path / "out.safetensors", Asked(network(TWO_TOWERS)))


def test_the_way_out_and_in_again_is_exact(tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text(MINI)
    run = ns.run(tmp_path / "mini.yaml", out=tmp_path / "runs", devices="cpu:0,cpu:1").folder
    done = ns.export(run, tmp_path / "there.safetensors")
    assert done.module is not None
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    net = imported(done.module).load()
    with torch.inference_mode():
        theirs = net.predict(channels_first(images)).numpy()
    back = ns.import_network(done.file, tmp_path / "back.safetensors", spec=tmp_path / "mini.yaml")
    for row, seen, again in zip(
        theirs, ns.predict(run, list(images)), ns.predict(back.file, list(images)), strict=True
    ):
        assert [p for _, p in seen.top] == [p for _, p in again.top]
        np.testing.assert_allclose(sorted(row, reverse=True)[:3], [p for _, p in seen.top], rtol=0, atol=1e-5)


def test_convolutions_of_volumes_come_back_as_they_went(tmp_path: Path) -> None:
    attrs = {"filters": 6, "size": [3, 2, 1], "stride": [1, 2, 1], "pad": [1, 0, 0], "groups": 2}
    spec = single("conv3d", attrs, [(2, 4, 5, 6, 4)])
    with Session(spec, ["cpu:0"], phases=("predict",), eval_batch=BATCH) as session:
        arrays = drawn(session.store.shapes(), 0)
    net = module_of(TorchForm(spec), arrays, tmp_path)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert {(6, 2, 3, 2, 1), (6,)} <= {tuple(one.shape) for one in net.state_dict().values()}, "as nn.Conv3d has them"
    made = import_network(tmp_path / "net.pt", tmp_path / "out.safetensors", Asked(spec))
    assert {"only.weight", "only.bias"} <= set(made.taken)
    with Session(spec, ["cpu:0"], phases=("predict",), eval_batch=BATCH) as session:
        session.store.load(read(tmp_path / "out.safetensors").tensors)
        feeds = inputs(spec, 0, BATCH)
        again = session.predict(feeds, BATCH).copy()
        session.store.load(arrays)
        np.testing.assert_array_equal(again, session.predict(feeds, BATCH))


def test_the_page_on_exports_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines for PyTorch, with the files that it names."""
    (tmp_path / "mini.yaml").write_text(MINI)
    run = ns.run(tmp_path / "mini.yaml", out=tmp_path / "runs", devices="cpu:0,cpu:1").folder
    ns.export(run, tmp_path / "alexnet.safetensors")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    block = next(one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import alexnet" in one)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block, {})
    assert said.getvalue().strip() == ns.predict(run, "photo.png")[0].top[0][0]
