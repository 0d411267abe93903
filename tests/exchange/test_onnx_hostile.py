"""ONNX files that nobody means well with: an error that tells, no code that runs, no memory that runs out."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import netspec
from onnx_nets import imported
from places import ROOT

from netspec.errors import NetspecError
from netspec.exchange.formats import Asked
from netspec.runners.importing import import_network

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def model(*nodes: Any, shape: tuple[Any, ...] = ("N", 3, 8, 8), output: str = "y", **arrays: Any) -> Any:
    """A model of nodes and constants."""
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(output, 1, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def small() -> Any:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "m"], ["y"]),
    ]
    return model(*nodes, w=weights, m=np.ones((144, 3), np.float32))


def refusal(made: Any, folder: Path) -> str:
    with pytest.raises(NetspecError) as caught:
        imported(made, folder)
    assert not (folder / "net.safetensors").exists()
    return str(caught.value)


def changed(change: Callable[[Any], object]) -> Any:
    made = small()
    change(made)
    return made


def external(location: str, **more: str) -> Any:
    """The convolution's weights in another file."""
    made = small()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return made


def node(op: str, *inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [output], **attributes)


HUGE = 2**40
FILES: dict[str, tuple[Callable[[], Any], str]] = {
    "no opset": (lambda: changed(lambda m: m.ClearField("opset_import")), "it has none"),
    "an opset of the future": (lambda: changed(lambda m: setattr(m.opset_import[0], "version", 9999)), "it has 9999"),
    "no graph": (lambda: changed(lambda m: m.ClearField("graph")), "no graph with an output"),
    "an output from nowhere": (lambda: model(output="gone"), "nothing makes its output"),
    "a cycle": (lambda: model(node("Add", "x", "y", output="a"), node("Relu", "a")), "a cycle, or out of order"),
    "a node that reads itself": (lambda: model(node("Add", "x", "y")), "a cycle, or out of order"),
    "a value made twice": (
        lambda: model(node("Relu", "x", output="a"), node("Tanh", "x", output="a"), node("Relu", "a")),
        "made twice",
    ),
    "fewer numbers than its shape": (
        lambda: changed(lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234")),
        "does not fit its shape",
    ),
    "weights of a huge shape": (
        lambda: changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, HUGE)),
        "does not fit its shape",
    ),
    "a negative axis": (lambda: changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -4)), "has the shape"),
    "an unknown type of numbers": (
        lambda: changed(lambda m: setattr(m.graph.initializer[0], "data_type", 250)),
        "does not fit its shape",
    ),
    "text for weights": (
        lambda: changed(lambda m: setattr(m.graph.initializer[0], "data_type", 8)),
        "constant 'w'",
    ),
    "an attribute of another type": (
        lambda: model(node("Conv", "x", "w", strides="fast"), w=np.ones((1, 3, 3, 3), np.float32)),
        "its attribute 'strides' is no list",
    ),
    "a stride of zero": (
        lambda: model(node("Conv", "x", "w", strides=[0, 0]), w=np.ones((1, 3, 3, 3), np.float32)),
        "its attribute 'strides' is [0, 0]",
    ),
    "groups of zero": (
        lambda: model(node("Conv", "x", "w", group=0), w=np.ones((1, 3, 3, 3), np.float32)),
        "in 0 groups do not fit",
    ),
    "a node without inputs": (lambda: model(node("Relu", output="a"), node("Add", "x", "a")), "it has 0 inputs"),
    "nothing that reads the input": (lambda: model(node("Relu")), "reads no input"),
    "too many inputs": (lambda: model(node("Relu", "x", "x")), "it has 2 inputs"),
    "an input that is left out": (
        lambda: model(node("Relu", "", output="a"), node("Add", "x", "a")),
        "reads a constant where layers here read a value",
    ),
    "a huge image": (
        lambda: model(node("Transpose", "x", perm=[0, 3, 1, 2]), shape=("N", 2**20, 2**20, 3)),
        "is too large",
    ),
    "a huge row": (lambda: model(node("Relu", "x"), shape=("N", HUGE)), "is too large"),
    "a huge batch": (lambda: model(node("Relu", "x"), shape=(HUGE, 4)), "is too large"),
    "a huge image behind a layer": (
        lambda: model(
            node("Conv", "x", "w", pads=[2**20] * 4, output="c"),
            node("Flatten", "c"),
            w=np.ones((1, 3, 3, 3), np.float32),
        ),
        "would have to be taken apart",
    ),
    "a huge constant of a small file": (
        lambda: model(node("ConstantOfShape", "s", output="c"), node("Add", "x", "c"), s=np.array([HUGE, 4])),
        "it makes a constant of shape",
    ),
    "constants that grow": (
        lambda: model(
            node("Mul", "a", "b", output="c"),
            node("Add", "x", "c"),
            a=np.ones((2**20, 1), np.float32),
            b=np.ones((1, 2**20), np.float32),
        ),
        "a large constant of small ones",
    ),
    "a gather that grows": (
        lambda: model(node("Gather", "x", "i", axis=1, output="g"), node("Relu", "g"), i=np.zeros(2**22, np.int64)),
        "a large tensor of a small one",
    ),
    "a row that is mostly left out": (
        lambda: model(
            node("Relu", "x", output="r"),
            node("Gather", "r", "i", axis=1, output="g"),
            node("MatMul", "g", "m"),
            shape=("N", 2**20),
            i=np.zeros(1, np.int64),
            m=np.ones((1, 2**10), np.float32),
        ),
        "too few for a dense layer of all",
    ),
    "padding without end": (
        lambda: model(node("MaxPool", "x", kernel_shape=[2, 2], pads=[2**40] * 4)),
        "its attribute 'pads' is",
    ),
    "weights outside the folder": (lambda: external("../secret.bin"), "outside the model's folder"),
    "weights at an absolute path": (lambda: external("/etc/passwd"), "outside the model's folder"),
    "weights behind backslashes": (lambda: external("..\\secret.bin"), "outside the model's folder"),
    "weights nowhere": (lambda: external("gone.bin"), "where no such file is"),
    "weights behind a link": (lambda: external("link.bin"), "where no such file is"),
    "weights in a folder": (lambda: external("folder"), "where no such file is"),
    "weights beyond the end": (lambda: external("here.bin", offset="8"), "does not lie whole"),
    "weights of another length": (lambda: external("here.bin", length="4"), "does not lie whole"),
    "weights at no number": (lambda: external("here.bin", offset="first"), "does not fit its shape"),
    "weights before the start": (lambda: external("here.bin", offset="-4"), "does not lie whole"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of the weights' size, and a link to one outside."""
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "here.bin").write_bytes(bytes(432))
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "secret.bin")
    return tmp_path / "in"


@pytest.mark.parametrize("case", FILES)
def test_what_is_wrong_is_told(case: str, folder: Path) -> None:
    make, reason = FILES[case]
    assert reason in refusal(make(), folder)


def test_weights_may_lie_beside_the_model(folder: Path) -> None:
    weights = numpy_helper.to_array(small().graph.initializer[0])
    (folder / "here.bin").write_bytes(bytes(16) + weights.tobytes())
    from netspec.runners.training import checkpoint

    done = imported(external("here.bin", offset="16", length="432"), folder)
    stored = next(array for name, array in checkpoint.read(done.file).tensors.items() if array.shape == (3, 3, 3, 4))
    np.testing.assert_array_equal(stored, weights.transpose(2, 3, 1, 0))


def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    data, file = small().SerializeToString(), tmp_path / "net.onnx"
    for length in range(0, len(data), 29):
        file.write_bytes(data[:length])
        with pytest.raises(NetspecError):
            import_network(file, tmp_path / "net.safetensors", Asked())


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_end_in_an_error_or_a_network(seed: int, tmp_path: Path) -> None:
    data, file, chance = bytearray(small().SerializeToString()), tmp_path / "net.onnx", random.Random(seed)
    for _ in range(60):
        spoilt = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        file.write_bytes(spoilt)
        file.with_suffix(".yaml").unlink(missing_ok=True)
        try:
            import_network(file, tmp_path / "net.safetensors", Asked())
        except NetspecError as error:
            assert str(error)


def test_the_command_tells_it_on_a_line(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08garbage")
    said = netspec("import", tmp_path / "net.onnx", "-o", tmp_path / "net.safetensors")
    assert said.code == 1 and "not an ONNX model, or cut off" in said.err and "Traceback" not in said.err


BOUNDED = """
import resource, sys
import netspec.exchange.onnx_in.network_in_onnx, netspec.runners.importing
from pathlib import Path
from netspec.errors import NetspecError
from netspec.exchange.formats import Asked
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in map(Path, sys.argv[1:]):
    try:
        netspec.runners.importing.import_network(file, file.with_suffix(".safetensors"), Asked())
    except NetspecError:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory a process had is told in KiB on Linux alone")
def test_small_files_take_little_memory(folder: Path) -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    files = []
    for number, (make, _) in enumerate(FILES.values()):
        files.append(folder / f"{number}.onnx")
        files[-1].write_bytes(make().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1024, "MiB"
