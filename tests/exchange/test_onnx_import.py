"""Networks that were exported as ONNX and imported again: they answer as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exchange_nets import LIGHT, SPECS, drawn, inputs, spec_file
from nets import TWO_TOWERS, network
from onnx_nets import imported
from random_nets import write

from netspec.errors import NetspecError
from netspec.exchange.formats import Asked
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint
from netspec.spec import from_canonical, load, loads
from netspec.spec.types import Spec

UNKNOWN_HERE = ("prelu", "batch_norm", "scale")  # one for each number of a row that is cut out of images
pytest.importorskip("onnx", reason="onnx is not installed")


def check_there_and_back(spec: Spec, folder: Path, devices: tuple[str, ...] | None = None, seed: int = 0) -> Spec:
    """The network, exported and imported, answers as before; gives the imported spec."""
    from netspec.exchange.onnx_model import model_of

    with Session(spec, bound(spec), phases=("predict",), eval_batch=3) as session:
        arrays = drawn(session.store.shapes(), seed)
        session.store.load(arrays)
        feeds = inputs(spec, seed, 3)
        before = session.predict(feeds, 3).copy()
    numbers = any(layer.type == "mse" for layer in spec.layers)
    model = model_of(spec, arrays, {"classes": [] if numbers else list(map(str, range(before.shape[1])))})
    done = imported(model, folder, Asked(devices=devices))
    found = checkpoint.read(done.file)
    back = from_canonical(found.record.spec)
    assert back == load(done.spec)
    with Session(back, bound(back), phases=("predict",), eval_batch=3) as session:
        session.store.load({name: array for name, array in found.tensors.items() if name in session.store.shapes()})
        after = session.predict({name: feed for name, feed in feeds.items() if name in back.inputs}, 3)
    assert np.ptp(before) > 1e-4
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    return back


def test_classes_come_back_with_their_words(tmp_path: Path) -> None:
    from netspec.exchange.onnx_model import model_of

    spec = network(TWO_TOWERS)
    with Session(spec, bound(spec), phases=("predict",), eval_batch=1) as session:
        arrays = drawn(session.store.shapes(), 0)
        session.store.load(arrays)
        count = session.predict(inputs(spec, 0, 1), 1).shape[1]
    names = [f"n{number}" for number in range(count)]
    words = ["tench, Tinca tinca", *[""] * (count - 1)]
    done = imported(model_of(spec, arrays, {"classes": names, "words": words}), tmp_path)
    record = checkpoint.read(done.file).record
    assert record.classes == tuple(names) and record.words == {"n0": "tench, Tinca tinca"}
    written = {"n0": "['tench']", "n1": "3"}
    for odd, taken in (("tench", {}), ([["tench"], 3], written), ({"n0": "tench"}, {}), ([], {})):
        done = imported(model_of(spec, arrays, {"classes": names, "words": odd}), tmp_path)
        assert checkpoint.read(done.file).record.words == taken


def bound(spec: Spec) -> list[str]:
    return [f"cpu:{i}" for i in range(len(spec.devices))]


QUICK = (*LIGHT, "cifar10-13pct", "figure1-tanh", "figure1-logistic")


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("devices", [None, ("left", "right")], ids=["one", "two"])
def test_shipped_specs_come_back(name: str, devices: tuple[str, ...] | None, tmp_path: Path) -> None:
    check_there_and_back(spec_file(name), tmp_path, devices)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in SPECS.glob("*.yaml")} - set(QUICK)))
def test_all_other_shipped_specs_do(name: str, tmp_path: Path) -> None:
    check_there_and_back(spec_file(name), tmp_path)


def test_random_networks_of_all_layers_come_back(tmp_path: Path) -> None:
    """Those of whose nodes some have no layer that an import makes are refused by these nodes' names."""
    came = 0
    for seed in range(12):
        spec = loads(write(seed)[0], "random.yaml")
        for devices in (None, ("left", "right")):
            try:
                check_there_and_back(spec, tmp_path, devices, seed)
                came += 1
            except NetspecError as error:
                assert any(f"node '{kind}" in str(error) for kind in UNKNOWN_HERE), error
    assert came >= 20


def test_layers_keep_their_names_and_what_training_needs(tmp_path: Path) -> None:
    back = check_there_and_back(network(TWO_TOWERS), tmp_path)
    assert [layer.name for layer in back.layers][:5] == ["conv1", "relu1", "norm1", "pool1", "conv2"]
    assert back.layer("norm1").attrs["groups"] == 2 and back.layer("conv2").attrs["groups"] == 2
    assert back.layer("drop4").attrs == {"keep": 0.5, "mode": "paper"}
    assert back.data.scale == 0.01


def test_towers_are_proposed_where_groups_stand(tmp_path: Path) -> None:
    back = check_there_and_back(network(TWO_TOWERS), tmp_path, ("left", "right"))
    both = {layer.name for layer in back.layers if layer.devices == ("left", "right")}
    assert both == {"conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "conv3", "relu3", "fc4", "relu4", "drop4"}
    crossing = {layer.name for layer in back.layers if any(one.connect == "all" for one in layer.inputs)}
    assert crossing == {"conv3", "fc4", "fc5"}
