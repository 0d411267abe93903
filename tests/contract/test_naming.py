"""What kernels' parameter names stand for, and which names a layer's tensors cannot have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from nets import BATCH, ONE_DEVICE, RATES, batch, network

from netspec.contract.layer import Layer
from netspec.contract.naming import COUNTERS, Argument, argument
from netspec.contract.tensor import State, Tensor, Workspace
from netspec.errors import LayerError, NetspecError, SpecError
from netspec.planning import build
from netspec.program.passes import arrays_of
from netspec.registry import load_plugin
from netspec.runners.execution.session import Session

TENSORS = ("x", "x0", "weight", "mean", "y", "data")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", Argument("x")),
        ("d_x", Argument("x", "gradient")),
        ("dx", Argument("x", "gradient")),
        ("d_weight", Argument("weight", "gradient")),
        ("next_mean", Argument("mean", "next")),
        ("data", Argument("data")),
        ("d_data", Argument("data", "gradient")),
        ("counters", COUNTERS),
        ("columns", Argument("columns")),
        ("d_columns", Argument("d_columns")),
        ("decay", None),
        ("d_", None),
        ("dd_x", None),
        ("next_", None),
    ],
)
def test_what_a_parameter_stands_for(name: str, expected: Argument | None) -> None:
    assert argument(name, TENSORS, ("columns", "d_columns")) == expected
    assert expected is None or str(expected) in (name, name.replace("d", "d_", 1))


def test_in_turn_a_kernel_calls_each_input_by_one_name() -> None:
    assert argument("dx", ("x0", "x1", "y"), (), "x", "x1") == Argument("x1", "gradient")
    assert argument("x", ("x0", "x1", "y"), (), "x", "x0") == Argument("x0")
    assert argument("y", ("x0", "x1", "y"), (), "x", "x0") == Argument("y")


def layer(saved: tuple[str, ...] = (), state: tuple[str, ...] = (), spaces: tuple[str, ...] = ()) -> Layer:
    """A layer of x and y, and what else is said."""

    class Made(Layer):
        type = "made"

        def outputs(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return Tensor(x.shape)

        def saved(self, x: Tensor) -> Mapping[str, Tensor]:  # type: ignore[override]
            return {name: Tensor(x.shape) for name in saved}

        def state(self, x: Tensor) -> Mapping[str, State]:  # type: ignore[override]
            return {name: State((4,)) for name in state}

        def workspace(self, t: Any, variant: str, direction: Any) -> Mapping[str, Workspace]:
            return {name: Workspace((4,)) for name in spaces}

    return Made({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"saved": ("d_x",)}, "arrays called 'x' and 'd_x', and 'd_x' is how kernels call the gradient of 'x'"),
        ({"saved": ("dy",)}, "arrays called 'y' and 'dy', and 'dy' is how kernels call the gradient of 'y'"),
        ({"saved": ("c", "d_c")}, "arrays called 'c' and 'd_c'"),
        ({"state": ("m", "next_m")}, "and 'next_m' is how kernels call the next value of 'm'"),
        ({"spaces": ("d_y",)}, "and 'd_y' is how kernels call the gradient of 'y'"),
        ({"saved": ("x",)}, "has two arrays called 'x'"),
        ({"spaces": ("y",)}, "has two arrays called 'y'"),
        ({"saved": ("counters",)}, "an array cannot be called 'counters'"),
        ({"state": ("p.momentum",)}, "an array cannot be called 'p.momentum'"),
        ({"saved": ("roles",)}, "an array cannot be called 'roles'"),
    ],
)
def test_names_that_kernels_could_not_tell_apart_are_refused(options: dict[str, Any], message: str) -> None:
    made = layer(**options)
    with pytest.raises(LayerError) as raised:
        arrays_of(made, made.tensors([Tensor((2, 4))]), "plain", "forward")
    assert message in str(raised.value) and str(raised.value).startswith("layer type 'made'")


def test_names_that_only_look_alike_are_not() -> None:
    made = layer(saved=("data", "d_model", "next_"), spaces=("columns", "d_columns"))
    names = arrays_of(made, made.tensors([Tensor((2, 4))]), "plain", "forward")
    assert list(names) == ["x", "y", "data", "d_model", "next_", "columns", "d_columns"]


PLUGIN = '''
from netspec.plugin import *

@register("{name}")
class Scaled(Layer):
    """y = x * (c + {second})"""

    def outputs(self, x):
        return Tensor(x.shape)

    def params(self, x):
        return {{name: Param((x.shape[-1],), {{"type": "constant", "value": 0.5}}) for name in ("c", "{second}")}}

    @forward("cpu", over="x", axes=0, writes="y")
    def scale(start, stop, x, c, {second}, y):
        for n in range(start, stop):
            y[n] = x[n] * (c + {second})

    @backward("cpu", over="x", axes=0, writes="d_x")
    def back(start, stop, dy, c, {second}, d_x):
        for n in range(start, stop):
            d_x[n] = dy[n] * (c + {second})

    @backward("cpu", over="c", axes=0, writes=("d_c", "d_{second}"))
    def sums(start, stop, x, dy, d_c, d_{second}):
        for i in range(start, stop):
            total = 0.0
            for n in range(x.shape[0]):
                total += x[n, i] * dy[n, i]
            d_c[i] = total
            d_{second}[i] = total
'''


def test_a_plugin_of_such_names_is_refused_where_it_stands_in_a_spec(tmp_path: Any) -> None:
    file = tmp_path / "clashing.py"
    file.write_text(PLUGIN.format(name="clashing", second="dc"))
    load_plugin(file)
    with pytest.raises(SpecError) as raised:
        build(network(ONE_DEVICE, **{"name: relu4, type: relu": "name: relu4, type: clashing"}))
    assert str(raised.value).startswith("net.yaml:21:5: relu4: layer type 'clashing' has arrays called 'c' and 'dc'")


def test_a_plugin_with_a_parameter_that_begins_like_a_gradient_learns(tmp_path: Any) -> None:
    file = tmp_path / "begins.py"
    file.write_text(PLUGIN.format(name="begins", second="d_"))
    load_plugin(file)
    spec = network(ONE_DEVICE, **{"name: relu4, type: relu": "name: relu4, type: begins"})
    with Session(spec, ["cpu"], phases=("train",)) as session:
        assert session.train(batch(), 0, BATCH, RATES).finite
        learned = session.store.tensors()
    assert (learned["relu4.c"] == learned["relu4.d_"]).all() and (learned["relu4.c"] != 0.5).any()


def test_a_parameter_of_no_name_is_told(tmp_path: Any) -> None:
    file = tmp_path / "unknown.py"
    file.write_text(PLUGIN.format(name="unknown", second="e").replace("dy, c, e, d_x", "dy, c, e, d_z, d_x"))
    load_plugin(file)
    spec = network(ONE_DEVICE, **{"name: relu4, type: relu": "name: relu4, type: unknown"})
    with pytest.raises(NetspecError, match=r"Scaled.back: parameter 'd_z' is no tensor, attribute or scalar of layer"):
        Session(spec, ["cpu"], phases=("train",))
