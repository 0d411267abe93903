"""Plugins with mistakes: each is told in one message that names the layer or the file, and never as a fault of netspec.

The contract suite's own tests have layers that compute what is wrong; these cannot be planned, imported or compiled.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from nets import ONE_DEVICE, batch, network

from netspec.contract.kernel import forward
from netspec.contract.layer import Layer
from netspec.errors import NetspecError, SpecError
from netspec.planning import build
from netspec.registry import layer_types, load_plugin
from netspec.runners.execution.session import Session


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    """Writes a plugin file and loads it."""

    def write(name: str, text: str, folder: str = "") -> Path:
        path = tmp_path / folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("from netspec.plugin import *\n" + textwrap.dedent(text))
        load_plugin(path)
        return path

    return write


def test_a_shape_rule_that_raises_names_the_layer_and_the_line(plugin: Callable[..., Path]) -> None:
    path = plugin(
        "fault_shape",
        """
        @register("fault_shape")
        class Wrong(Layer):
            def outputs(self, x):
                return Tensor((x.shape[0], x.shape[7]))
        """,
    )
    with pytest.raises(SpecError) as caught:
        build(network(ONE_DEVICE, **{"type: relu}": "type: fault_shape}"}))
    where = f"relu1: layer type 'fault_shape' fails at {path}:6: IndexError: tuple index out of range"
    assert where in str(caught.value)
    assert "it reads conv1.y (6, 4, 4, 8)" in str(caught.value)


def test_a_kernel_that_raises_names_its_step(plugin: Callable[..., Path]) -> None:
    plugin(
        "fault_kernel",
        """
        @register("fault_kernel")
        class Wrong(Layer):
            def outputs(self, x):
                return Tensor(x.shape)
            @forward("cpu", over="x", writes="y")
            def forward_cpu(start, stop, x, y):
                raise ValueError("not today")
            @backward("cpu", over="x", writes="d_x")
            def backward_cpu(start, stop, dy, d_x):
                d_x[start:stop] = dy[start:stop]
        """,
    )
    spec = network(ONE_DEVICE, **{"type: relu}": "type: fault_kernel}"})
    with Session(spec, ["cpu:0"], phases=("predict",)) as session:
        with pytest.raises(NetspecError, match=r"step 'relu1.forward@\w+' failed .*: ValueError: not today"):
            session.predict(batch(), 6)


def test_a_file_that_python_cannot_read_is_named(plugin: Callable[..., Path]) -> None:
    with pytest.raises(NetspecError, match=r"fault_syntax.py: cannot be imported: SyntaxError: .*line 2"):
        plugin("fault_syntax", "class Wrong(Layer)\n    pass\n")


def test_two_files_of_one_name_are_two_plugins(plugin: Callable[..., Path]) -> None:
    """The second must not pass for the first one loaded again."""
    text = "@register('{}')\nclass One(Elementwise):\n    def forward(x): return x\n    def backward(dy): return dy\n"
    plugin("fault_twins", text.format("twin_one"), "one")
    second = plugin("fault_twins", text.format("twin_two"), "two")
    assert load_plugin(second) == ("twin_two",)
    with pytest.raises(NetspecError, match=r"'twin_one' is registered twice: by .*one.*and by .*three"):
        plugin("fault_twins", text.format("twin_one"), "three")


def test_a_spec_with_a_plugins_layer_alone_tells_of_the_option() -> None:
    with pytest.raises(
        SpecError, match=r"unknown layer type 'zzz' \(known: .*; a plugin's layer is found with --plugin"
    ):
        network(ONE_DEVICE, **{"type: relu}": "type: zzz}"})


def _kernel(value: int):  # type: ignore[no-untyped-def]
    def one(start, stop, x, y):  # type: ignore[no-untyped-def]
        y[start:stop] = value

    return one


def test_two_kernels_of_one_name_are_refused() -> None:
    mark = forward("cpu", over="x", writes="y")
    with pytest.raises(TypeError, match="two kernels are different functions called 'one'"):
        type("Clash", (Layer,), {"a": mark(_kernel(1)), "b": mark(_kernel(2))})


def test_a_kernel_that_replaces_an_inherited_one_runs_in_its_place() -> None:
    def first(start, stop, x, y):  # type: ignore[no-untyped-def]
        """The first pass."""

    def second(start, stop, y):  # type: ignore[no-untyped-def]
        """The second."""

    mark = forward("cpu", over="x", writes="y")
    base = type("Base", (Layer,), {"first": mark(first), "second": mark(second)})
    heir = type("Heir", (base,), {"first": mark(first)})
    assert [kernel.function.__name__ for kernel in heir.kernels] == ["first", "second"]
    assert heir.kernels[0] is heir.__dict__["first"]


def test_a_file_that_fails_half_way_leaves_nothing_and_ctrl_c_is_no_fault_of_it(tmp_path: Path) -> None:
    half = "from netspec.plugin import Layer, register\n\n\n@register('half')\nclass Half(Layer):\n    pass\n\n\n"
    file = tmp_path / "half.py"
    for line, error, message in (
        ("raise KeyboardInterrupt", KeyboardInterrupt, "^$"),
        ("raise SystemExit(3)", NetspecError, r"half.py:\d+: cannot be imported: SystemExit: 3"),
        ("raise ValueError('x')", NetspecError, r"half.py:\d+: cannot be imported: ValueError: x"),
    ):
        file.write_text(half + line + "\n")
        with pytest.raises(error, match=message):
            load_plugin(file)
        assert "half" not in layer_types()
        assert not [name for name in sys.modules if name.startswith("netspec_plugin_") and name.endswith(".half")]
