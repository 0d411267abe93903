"""Every layer's CUDA kernels, in the machine's own instructions, against the CPU's; operations and epilogues too."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
from emulated import simulators_tests
from nets import RATES, batch, network, same_bits

from netspec.check.compare import agree
from netspec.check.subject import Case, Subject, complete, cpu, draw
from netspec.check.writes import trip, variants_on
from netspec.contract.kernel import PHASES
from netspec.contract.tensor import Tensor
from netspec.device.emulated.device import EmulatedCuda
from netspec.device.gpus import finds_compiler
from netspec.kernels import numba_cuda
from netspec.registry import layer_types, load_plugin
from netspec.runners.execution.session import Session

pytestmark = [
    pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'"),
    pytest.mark.skipif(numba_cuda.SIMULATOR, reason="kernels are simulated"),
]


def _kind(name, variant):
    """Kernels that come in tiles take long to compile: all but the smallest are slow."""
    tile = re.search(r"_(\d+)x(\d+)", variant)
    large = tile is not None and int(tile[1]) * int(tile[2]) > 64 * 64
    return pytest.param(name, variant, marks=[pytest.mark.slow] if large else [])


KINDS = [
    _kind(name, variant)
    for name, cls in sorted(layer_types().items())
    for variant in dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)
]


@pytest.fixture(scope="module")
def card():
    return EmulatedCuda()


@pytest.mark.parametrize(("name", "variant"), KINDS)
def test_kernels(name, variant, card):
    """Forward and backward against plain kernels in float64; the same bits again, whatever memory held before."""
    done = []
    subject = Subject(name)
    for phase in PHASES:
        for case, values in subject.trips(phase):
            single = case.on(card, phase, variant=variant)
            work = (str(case), single.passes("forward"))
            able = variant == "plain" or single.layer.supports(single.t, variant)
            if able and work not in done:
                done.append(work)
                _compare(case, single, subject.device, values)
    assert done


def _compare(case, single, host, values):
    exact = case.on(host, single.layer.phase, dtype="float64")
    wanted, terms = trip(exact, values), trip(exact, {name: np.abs(value) for name, value in values.items()})
    got = trip(single, values).written
    bound = single.layer.bounds.get(single.variant, 1e-5)
    for name, array in wanted.written.items():
        if name in got:
            agree(name, got[name], array, f"{single.variant} ({case})", bound, terms.written[name])
    again = case.on(single.device, single.layer.phase, variant=single.variant, poison=1234.5)
    same_bits(trip(again, values).written, got)


LARGER = {
    "tiles and slabs, cut off": ("local", {"filters": 40, "size": 3, "pad": 1}, (40, 5, 6, 36)),
    "more images than a tile has": ("local", {"filters": 33, "size": 3, "stride": 2, "bias": False}, (70, 7, 6, 35)),
    "a bias for all places": ("local", {"filters": 40, "size": 3, "pad": 1, "shared_bias": True}, (35, 5, 6, 36)),
    "AlexNet's classes": ("softmax_loss", {}, (37, 1000), (37,)),
    "many rows": ("softmax_loss", {}, (300, 10), (300,)),
    "rows that are not in fours": ("softmax_loss", {}, (70, 1003), (70,)),
    "AlexNet's second, across": ("lrn", {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}, (3, 13, 13, 128)),
    "windows of an image": ("lrn_within", {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 2.0}, (3, 30, 31, 20)),
    "windows, odd channels": ("lrn_within", {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 2.0}, (2, 30, 31, 7)),
    "averages": ("pool", {"mode": "average", "size": 3, "stride": 2}, (3, 30, 31, 20)),
    "largest, odd channels": ("pool", {"mode": "max", "size": 3, "stride": 2, "pad": 1}, (3, 30, 31, 19)),
    "many elements": ("tanh", {}, (128, 4096)),
    "parts in fours": ("concat", {}, (20, 13, 13, 96), (20, 13, 13, 32)),
    "parts not in fours": ("concat", {}, (20, 13, 13, 96), (20, 13, 13, 33)),
    "products without tensor cores": ("conv", {"filters": 70, "size": 3, "pad": 1}, (40, 9, 9, 7)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_larger_shapes(name, card):
    """Several blocks, tiles and rounds of each loop; those of tensor cores are in test_emulate_tensor_cores.py."""
    layer, attrs, *shapes = LARGER[name]
    cls = layer_types()[layer]
    given = complete(
        cls, {**attrs, **({"init": {"type": "gaussian", "std": 0.1}} if "init" in cls.attrs_schema else {})}
    )
    names = cls.input_names(len(shapes))
    kinds = ["int32" if one == "label" else "float32" for one in names]
    case = Case(cls, given, tuple(map(Tensor, shapes, kinds)))
    for single in variants_on(card, case):
        if not single.variant.startswith(("tf32", "bf16")):
            _compare(case, single, cpu(), draw(case))


def _operations(monkeypatch, card):
    module = simulators_tests("test_operations")
    monkeypatch.setattr(module, "gpu", lambda: card)
    return module


def _tests_of_operations():
    """Tests of the simulator with their parameters, as calls."""
    module = simulators_tests("test_operations")
    for name, test in vars(module).items():
        if name.startswith("test_"):
            marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            rows = marks[0].args[1] if marks else [()]
            names = marks[0].args[0] if marks else ()
            names = [one.strip() for one in names.split(",")] if isinstance(names, str) else list(names)
            for row in rows:
                values = row if len(names) > 1 else (row,)
                yield pytest.param(name, dict(zip(names, values, strict=False)), id=f"{name[5:]}-{row}")


@pytest.mark.parametrize(("name", "given"), list(_tests_of_operations()))
def test_operations(name, given, monkeypatch, card):
    getattr(_operations(monkeypatch, card), name)(**given)


def test_fused_layers_give_the_same_bits(tmp_path):
    """A network whose elementwise layers are epilogues of the kernels before, trained for two iterations."""
    module = simulators_tests("test_fusion")
    (tmp_path / "leaky.py").write_text(module.PLUGIN)
    load_plugin(str(tmp_path / "leaky.py"))
    fused, launches = _trained(module.NET, True)
    apart, more = _trained(module.NET, False)
    same_bits(fused, apart)
    assert launches < more


def _trained(net, fuse):
    spec = network(net)
    spec = replace(spec, train=replace(spec.train, fuse=fuse))
    arrays, cards = batch(0, (5, 5, 3), 2), []

    def opener(names):
        cards.extend(EmulatedCuda() for _ in names)
        return cards

    with Session(spec, ["cpu"], runner="serial", phases=("train", "predict"), opener=opener) as session:
        outcome = session.train(arrays, 0, 2, RATES)
        found = {**session.store.tensors(), "loss": np.array(outcome.reports["loss"]["loss"])}
        found["probs"] = session.predict({"image": arrays["image"]}, 2)
    return found, sum(card.launches for card in cards)
