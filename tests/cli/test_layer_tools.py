"""``netspec layers new``, ``try`` and ``bench``: from a name to a layer that is right, run and timed."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cli_tools import MINI, ROOT, netspec, process

from netspec.check.subject import gpu
from netspec.cli.layer.new import KINDS
from netspec.contract.elementwise import Elementwise
from netspec.contract.tensor import Tensor
from netspec.device.gpus import finds_compiler, gpus
from netspec.machine.roofline import Roof
from netspec.planning.plan import make_layer
from netspec.program.gpu_model import GPUS
from netspec.registry import layer_types
from netspec.runners import layer_bench, torch_bench
from netspec.spec.layer_attributes import given_attributes


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_new_layers_and_their_tests_pass_as_they_are(tmp_path):
    for kind in KINDS:
        name = f"new_{kind}"
        said = netspec("layers", "new", name, "--kind", kind)
        assert said == (0, f"{name}.py: written\ntest_{name}.py: written\nnext: netspec layers check {name}.py\n", "")
        text = (tmp_path / f"{name}.py").read_text() + (tmp_path / f"test_{name}.py").read_text()
        assert "my_layer" not in text and "MyLayer" not in text and f"class New{kind.capitalize()}(" in text
    checked = netspec("layers", "check", *(f"new_{kind}.py" for kind in KINDS), "--backend", "cpu")
    assert checked.code == 0 and checked.out.count("passed   plans") == 1, checked
    assert checked.out.count("passed   gradients") == len(KINDS) - 1, checked
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f"{2 * len(KINDS)} passed" in done.stdout, done.stdout


@pytest.mark.parametrize("kind", ["elementwise", "kernels"])
def test_a_new_layer_trains_in_a_network(kind, tmp_path):
    assert netspec("layers", "new", f"net_{kind}", "--kind", kind).code == 0
    (tmp_path / "net.yaml").write_text(MINI.replace("type: relu", f"type: net_{kind}"))
    said = process("run", "net.yaml", "--plugin", f"net_{kind}.py", "--iterations", "2")
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["relu"], "error: there is a layer type 'relu' already, in "),
        (["Mine"], "error: 'Mine' cannot be the name of a layer's file (small letters, "),
        (["lambda"], "error: 'lambda' cannot be the name of a layer's file"),
        (["math"], "error: 'math' is a module of its own, which a file of that name would hide"),
        (["mine", "--out", "gone"], "error: gone: there is no such folder"),
        (["mine", "--kind", "layers"], "Error: Invalid value for '--kind'"),
    ],
)
def test_what_cannot_be_written_is_one_line(words, message, tmp_path):
    said = netspec("layers", "new", *words)
    assert said.code and message in said.err
    assert not list(tmp_path.glob("*.py"))


def test_files_that_are_there_stay_unless_forced(tmp_path):
    (tmp_path / "test_mine.py").write_text("mine\n")
    said = netspec("layers", "new", "mine")
    assert said == (1, "", "error: test_mine.py: is there already; --force writes over it\n")
    assert (tmp_path / "test_mine.py").read_text() == "mine\n" and not (tmp_path / "mine.py").exists()
    assert netspec("layers", "new", "mine", "--force").code == 0


def test_a_class_is_not_called_as_what_it_derives_from(tmp_path):
    assert netspec("layers", "new", "tensor").code == 0
    assert "class TensorLayer(Elementwise)" in (tmp_path / "tensor.py").read_text()


def rows(said):
    assert said.code == 0, said.err
    return {row["name"]: row for row in json.loads(said.out)["arrays"]}


def test_try_tells_of_outputs_and_gradients(tmp_path):
    x = np.array([[-1.0, 2.0], [3.0, -4.0]])
    np.save("x.npy", x)
    found = rows(netspec("layers", "try", "leaky_relu", "--input", "x.npy", "--set", "slope=0.5", "--json"))
    assert found["y"]["first"] == [-0.5, 2, 3, -2] and found["d_x"]["first"] == [0.5, 1, 1, 0.5]
    assert (found["y"]["role"], found["y"]["shape"], found["y"]["min"], found["y"]["max"]) == ("output", [2, 2], -2, 3)
    said = netspec("layers", "try", "leaky_relu", "--input", "x.npy", "--set", "slope=0.5", "--out", "all.npz")
    assert "gradient   d_x     2x2" in said.out and said.out.endswith("written: all.npz\n")
    with np.load("all.npz") as kept:
        assert set(kept) == {"x", "y", "d_x"} and (kept["d_x"] == [[0.5, 1], [1, 0.5]]).all()


def test_try_of_shapes_labels_weights_and_states():
    found = rows(netspec("layers", "try", "softmax_loss", "--input", "4x10", "--json"))
    assert found["label"]["shape"] == [4] and found["label"]["dtype"] == "int32" and "d_x" in found
    found = rows(netspec("layers", "try", "softmax_loss", "--input", "4x10", "--phase", "predict", "--json"))
    assert set(found) == {"x", "probs"}
    found = rows(netspec("layers", "try", "batch_norm", "--input", "4x10", "--json"))
    assert {"weight", "d_weight", "mean", "next_mean"} <= set(found)
    found = rows(netspec("layers", "try", "concat", "--input", "2x3", "--input", "2x4", "--json"))
    assert found["y"]["shape"] == [2, 7]


def test_numbers_that_are_not_finite_are_told():
    np.save("x.npy", [[1.0, np.nan, np.inf]])
    said = netspec("layers", "try", "relu", "--input", "x.npy")
    assert "x: 2 elements NaN or infinite" in said.out and "y: 2 elements NaN or infinite" in said.out
    assert rows(netspec("layers", "try", "relu", "--input", "x.npy", "--json"))["y"]["first"] == [1, None, None]


FORWARD = """
from netspec.plugin import Layer, Tensor, forward, register
@register("{name}")
class OnlyForward(Layer):
    def outputs(self, x):
        return Tensor(x.shape[:1] + (x.shape[{axis}],), x.dtype)
    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y):
        y[start:stop] = 1.0
"""


def test_a_layer_without_a_backward_pass_yet(tmp_path):
    (tmp_path / "only.py").write_text(FORWARD.format(name="only_forward", axis=1))
    said = netspec("layers", "try", "only.py", "--input", "2x3")
    assert said.code == 0 and "no gradients: only_forward: it has no cpu kernels for its backward pass" in said.out


def test_a_fault_in_a_layer_s_own_code_has_its_line(tmp_path):
    (tmp_path / "only.py").write_text(FORWARD.format(name="wrong_axis", axis=5))
    said = netspec("layers", "try", "only.py", "--input", "2x3")
    where = tmp_path / "only.py"
    assert said == (1, "", f"error: wrong_axis: its code raises IndexError at {where}:6: tuple index out of range\n")


HOST = """
from netspec.plugin import Layer, Tensor, backward, forward, register
@register("host_fault")
class HostFault(Layer):
    def outputs(self, x):
        return Tensor(x.shape, x.dtype)
    @forward("cpu", over="x", axes=0, writes="y", host=True)
    def forward_cpu(ops, start, stop, x, y):
        ops.gemm(x[start:stop], x[start:stop], y[start:stop])
"""


@pytest.mark.parametrize("tool", ["try", "bench"])
def test_a_fault_in_a_host_kernel_has_its_line(tool, tmp_path):
    (tmp_path / f"host_{tool}.py").write_text(HOST.replace("host_fault", f"host_{tool}"))
    said = netspec("layers", tool, f"host_{tool}.py", "--input", "2x3")
    where = tmp_path / f"host_{tool}.py"
    assert said.code == 1 and said.err.startswith(f"error: host_{tool}: its code raises ValueError at {where}:9: ")


def test_an_array_of_nan_alone_has_no_range():
    np.save("x.npy", [[np.nan]])
    said = netspec("layers", "try", "relu", "--input", "x.npy")
    assert said.code == 0 and "y: 1 element NaN or infinite" in said.out
    row = rows(netspec("layers", "try", "relu", "--input", "x.npy", "--json"))["y"]
    assert (row["min"], row["mean"], row["max"], row["first"]) == (None, None, None, [None])


CONV = ["conv", "--set", "size=3"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["gelu", "--input", "gone.npy"], 2, "error: gone.npy: no such file; --input takes a .npy file, or a shape"),
        (["gelu", "--input", "0x3"], 2, "'0x3' is no shape"),
        (["gelu", "--input", "00x3"], 2, "'00x3' is no shape"),
        (["gelu", "--input", "99999x99999x9"], 2, "has more than 2,147,483,648 elements"),
        (["gelu", "--input", "text.npy"], 1, "error: text.npy: not an array of NumPy's"),
        (["gelu", "--input", "words.npy"], 1, "error: gelu: 'x' must be an array of float32, got <U3"),
        (["gelu", "--input", "empty.npy"], 1, "error: gelu: 'x' has no elements"),
        (["softmax_loss", "--input", "empty.npy", "--input", "3"], 1, "error: softmax_loss: 'x' has no elements"),
        (["softmax_loss", "--input", "one.npy", "--input", "3"], 1, "'x' must be an array, its first axis the batch"),
        (["softmax_loss", "--input", "4x3", "--input", "labels.npy"], 1, "'label' must be from 0 to 2"),
        (["softmax_loss", "--input", "labels.npy"], 2, "softmax_loss reads x, label: give --input for each"),
        ([*CONV, "--input", "2x5x5x3"], 1, "conv: 'filters' is missing"),
        ([*CONV, "--input", "2x5x5x3", "--set", "filters=classes"], 1, "'filters' must be a number"),
        ([*CONV, "--input", "2x5", "--set", "filters=2"], 1, "error: conv: the input must be images"),
        (["gelu", "--input", "2x3", "--set", "bta=1"], 1, "gelu: unknown key 'bta'"),
        (["gelo", "--input", "2x3"], 1, "error: unknown layer type 'gelo' (did you mean 'gelu'?)"),
        (["lars", "--input", "2x3"], 1, "error: solver 'lars': that is no layer"),
    ],
)
def test_what_cannot_be_tried_is_told(words, code, message, tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    np.save("words.npy", ["one", "two"])
    np.save("empty.npy", np.zeros((3, 0)))
    np.save("one.npy", 1.0)
    np.save("labels.npy", [0, 1, 2, 3])
    said = netspec("layers", "try", *words)
    assert said.code == code and message in said.err and "Traceback" not in said.err


def test_bench_times_each_variant_against_the_bound(monkeypatch):
    monkeypatch.setattr(layer_bench, "measured", lambda threads: Roof(1e9, 1e9))
    monkeypatch.setattr(layer_bench, "seconds_of", lambda device, call, best: 0.002)
    words = ["layers", "bench", "dense", "--input", "8x16", "--set", "units=4", "--backend", "cpu"]
    found = json.loads(netspec(*words, "--json").out)
    times = {(row["direction"], row["variant"]): row for row in found["times"]}
    assert {("forward", "plain"), ("backward", "plain"), ("forward", "gemm")} <= set(times)
    forward = times["forward", "plain"]
    nbytes, flops = 4 * (8 * 16 + 16 * 4 + 4 + 8 * 4), 2 * 8 * 16 * 4
    assert (forward["nbytes"], forward["milliseconds"]) == (nbytes, 2)
    assert forward["flops"] >= flops
    assert forward["least_ms"] == pytest.approx(max(nbytes, forward["flops"]) / 1e6)
    assert forward["share"] == forward["least_ms"] / 2
    told = netspec(*words).out
    assert "1.00 GFLOP/s, 1.00 GB/s: the bound" in told and "backward" in told


def test_bench_says_where_it_cannot_time(tmp_path):
    said = netspec("layers", "bench", "mse", "--input", "4x8")
    assert "no time of PyTorch's: " in said.out
    assert gpus() or "cuda: there is no GPU here" in said.out
    (tmp_path / "only.py").write_text(FORWARD.format(name="forward_timed", axis=1))
    said = netspec("layers", "bench", "only.py", "--input", "4x8")
    assert "cuda: the layer has no kernels for it" in said.out and "backward" not in said.out


class EmulatedTimes:
    """Seconds of calls on an emulated GPU, of which each is run once."""

    def __init__(self, monkeypatch, title):
        self.device = gpu()
        card = SimpleNamespace(name=title)
        monkeypatch.setattr(layer_bench, "gpus", lambda: (card,))
        monkeypatch.setattr(layer_bench, "obstacle", lambda: None)
        monkeypatch.setattr(layer_bench, "open_device", lambda name, size: self.device)
        monkeypatch.setattr(type(self.device), "close", lambda device: None)
        monkeypatch.setattr(layer_bench, "COPIED", 4000)
        monkeypatch.setattr(layer_bench, "seconds_of", self)

    def __call__(self, device, call, best):
        call()
        return 1e-6


@pytest.mark.skipif(bool(gpus()) or not finds_compiler(), reason="for machines with CUDA's compiler and no GPU")
@pytest.mark.parametrize("title", [GPUS["h100"].title, "another card"])
def test_bench_on_a_gpu(title, monkeypatch):
    EmulatedTimes(monkeypatch, title)
    words = ["layers", "bench", "dense", "--input", "4x16", "--set", "units=8", "--backend", "cuda", "--json"]
    found = json.loads(netspec(*words).out)
    assert {row["backend"] for row in found["times"]} == {"cuda"}
    plain = next(row for row in found["times"] if (row["direction"], row["variant"]) == ("forward", "plain"))
    by_bytes, by_flops = plain["nbytes"] / 8e9, plain["flops"] / GPUS["h100"].peak["float32"]
    assert plain["least_ms"] == pytest.approx(1e3 * max(by_bytes, 0 if title == "another card" else by_flops))
    assert ("is not known" in found["notes"][0]) == (title == "another card")


@pytest.mark.skipif(bool(gpus()) or not finds_compiler(), reason="for machines with CUDA's compiler and no GPU")
def test_bench_of_activations_stored_as_bfloat16(monkeypatch):
    EmulatedTimes(monkeypatch, GPUS["h100"].title)
    words = ["layers", "bench", "dense", "--input", "4x16", "--set", "units=8", "--backend", "cuda", "--json"]
    wide, narrow = (json.loads(netspec(*words, *more).out) for more in ((), ("--precision", "bf16")))
    plain = [
        next(row for row in found["times"] if (row["direction"], row["variant"]) == ("forward", "plain"))["nbytes"]
        for found in (wide, narrow)
    ]
    bias = 4 * 8
    assert plain[0] - bias == 2 * (plain[1] - bias)
    assert any(row["variant"].startswith("bf16_wgmma") for row in narrow["times"])
    assert any("stored in bfloat16" in note for note in narrow["notes"])


def test_bench_of_a_layer_that_takes_no_bfloat16_names_its_line(tmp_path, monkeypatch):
    where = tmp_path / "only.py"
    where.write_text(FORWARD.format(name="wide_alone", axis=1).replace("x.dtype)", '{"float32": x.dtype}[x.dtype])'))
    monkeypatch.setattr(layer_bench, "storage_of", lambda *_: "bfloat16")
    said = netspec("layers", "bench", "only.py", "--input", "2x3", "--backend", "cpu", "--precision", "bf16")
    assert said == (1, "", f"error: wide_alone: its code raises KeyError at {where}:6: 'bfloat16'\n")


def test_bench_refuses_what_no_layer_takes():
    assert "2x5.npy' is no shape" in netspec("layers", "bench", "gelu", "--input", "2x5.npy").err
    said = netspec("layers", "bench", "conv", "--input", "2x5", "--set", "size=3", "--set", "filters=2")
    assert said.code == 1 and said.err.startswith("error: conv: the input must be images")


PEERS = {
    "conv": ({"filters": 4, "size": 3, "pad": 1}, (2, 5, 6, 4)),
    "batch_norm": ({}, (2, 5, 6, 4)),
    "lrn": ({}, (2, 5, 6, 8)),
    "gelu": ({}, (2, 5)),
    "dense": ({"units": 3}, (2, 5)),
}


@pytest.mark.torch
@pytest.mark.parametrize("kind", PEERS)
def test_pytorch_is_timed_with_the_same_function(kind, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr(torch_bench, "seconds_of", lambda clock, call, best: call() is None or 0.001)
    attrs, shape = PEERS[kind]
    layer, t = made(kind, attrs, shape)
    peer = torch_bench.torch_peer(layer, t, "cpu", 1, True)
    assert peer.milliseconds == {"forward": 1, "backward": 1}
    assert "its numbers are others" not in peer.about


@pytest.mark.torch
def test_what_pytorch_computes_otherwise_is_told(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr(layer_types()["gelu"], "torch", lambda self, code, t, x: f"F.silu({x})")
    layer, t = made("gelu", {}, (2, 5))
    assert "its numbers are others on the same input" in torch_bench.torch_peer(layer, t, "cpu", 1, True).about


def made(kind, attrs, shape):
    return make_layer(kind, given_attributes(kind, attrs), "train", [Tensor(shape)])


def test_the_form_in_pytorch_as_text():
    source, code = torch_bench.module_source(*made("conv", {"filters": 4, "size": 3, "pad": 1}, (2, 5, 6, 4)))
    assert "self.conv = nn.Conv2d(4, 4, 3, padding=1)" in source and "return self.conv(x0)" in source
    assert set(code.tensors) == {"conv.weight", "conv.bias"}
    with pytest.raises(torch_bench.NoPeer, match="no form in PyTorch"):
        layer = Lacking({})
        torch_bench.module_source(layer, layer.tensors([Tensor((2, 5))]))


class Lacking(Elementwise):
    """y = x"""

    type = "lacking"

    def forward(x):
        return x

    def backward(dy):
        return dy


@pytest.mark.parametrize(("name", "kind"), [("offset", "kernels"), ("log_cosh", "cost")])
def test_the_tutorial_shows_what_is_written(name, kind, tmp_path):
    assert netspec("layers", "new", name, "--kind", kind).code == 0
    page = (ROOT / "docs" / "layer-tutorial.md").read_text()
    assert f"```python\n# {name}.py\n{(tmp_path / f'{name}.py').read_text()}```\n" in page
