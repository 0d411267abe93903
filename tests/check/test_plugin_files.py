"""What is wrong with a plugin file is said where it is loaded or checked, once, and points into the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from netspec.check import run
from netspec.errors import NetspecError
from netspec.registry import load_plugin
from netspec.registry.kinds import layers as registry

TWO = '''
"""Two inputs."""

from netspec.plugin import Elementwise, Layer, LayerError, Tensor, backward, forward, number, register


@register("times")
class Times(Layer):
    """y = a * b"""

    inputs = ("a", "b")

    def outputs(self, a, b):
        if a.shape != b.shape:
            raise LayerError("shapes differ")
        return Tensor(a.shape, a.dtype)

    @forward("cpu", over="y", writes="y", phases=("train", "eval", "predict"))
    def multiply(start, stop, a, b, y):
        for i in range(start, stop):
            y[i] = a[i] * b[i]

    @backward("cpu", over="y", writes=("d_a", "d_b"))
    def back(start, stop, a, b, dy, d_a, d_b):
        for i in range(start, stop):
            d_a[i], d_b[i] = dy[i] * b[i], dy[i] * a[i]
'''
UNLOADABLE = {
    "no layer": ("(Layer)", "", "'times' is no Layer: write class Times(Layer)"),
    "no name": ('@register("times")', "@register", "write @register('name') above the class"),
    "attrs in a list": ("inputs =", 'attrs = ["x"]\n    inputs =', "Times.attrs must be a dict"),
    "attrs as words": ("inputs =", 'attrs = {"x": "number"}\n    inputs =', "Times.attrs must be a dict"),
    "unknown phase": ('"predict")', '"test")', "phases are train, eval, predict, not ('train', 'eval', 'test')"),
}
WRONG = {
    "over": ('over="y", writes="y"', 'over="z", writes="y"', "all_outputs", "over='z' is no tensor"),
    "other error": ("raise LayerError", "raise ValueError", "shape_errors", "raise ValueError: shapes differ; it must"),
    "shape": (
        "return Tensor(a.shape, a.dtype)",
        "return a.shape",
        "shapes",
        "outputs() must give a Tensor, or Tensors",
    ),
    "phase left out": ('"eval", "predict")', '"eval")', "all_outputs", "no forward kernel for cpu writes 'y'"),
}


@pytest.fixture(autouse=True)
def own_types(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    registry.types()
    monkeypatch.setattr(registry, "_types", dict(registry._types))
    yield


def plugin(folder: Path, old: str, new: str) -> str:
    assert old in TWO
    file = folder / f"times_{abs(hash((old, new)))}.py"
    file.write_text(TWO.replace(old, new, 1))
    return str(file)


@pytest.mark.parametrize(("old", "new", "message"), UNLOADABLE.values(), ids=UNLOADABLE)
def test_a_file_that_cannot_be_loaded(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = plugin(tmp_path, old, new)
    with pytest.raises(NetspecError) as raised:
        load_plugin(file)
    assert message in str(raised.value) and file in str(raised.value)


@pytest.mark.parametrize(("old", "new", "check", "message"), WRONG.values(), ids=WRONG)
def test_a_fault_is_told_once(tmp_path: Path, old: str, new: str, check: str, message: str) -> None:
    load_plugin(plugin(tmp_path, old, new))
    failed = [result for result in run("times", ("cpu",)) if result.status == "failed"]
    assert [result.name for result in failed] == [check]
    assert message in failed[0].message


def test_what_is_not_written_in_a_phase_but_read_there(tmp_path: Path) -> None:
    text = TWO.replace('writes="y", phases=("train", "eval", "predict"))', 'writes="kept", phases=("train",))')
    text = text.replace("a, b, y):", "a, b, kept):").replace("y[i] = a[i] * b[i]", "kept[i] = a[i] * b[i]")
    text = text.replace(
        "    @forward", "    def saved(self, a, b):\n        return {'kept': Tensor(a.shape)}\n\n    @forward", 1
    )
    text += """
    @forward("cpu", over="y", writes="y")
    def copy(start, stop, kept, y):
        for i in range(start, stop):
            y[i] = kept[i]
"""
    file = tmp_path / "times_kept.py"
    file.write_text(text)
    load_plugin(file)
    failed = [result.message for result in run("times", ("cpu",)) if result.status == "failed"]
    assert len(failed) == 1 and "times:copy reads 'kept', which no forward kernel writes (cpu, eval;" in failed[0]


def test_right_as_it_stands(tmp_path: Path) -> None:
    load_plugin(plugin(tmp_path, "TWO"[:0], ""))
    assert not [result for result in run("times", ("cpu",)) if result.status == "failed"]


def test_what_is_wrong_is_told_once(tmp_path: Path) -> None:
    load_plugin(plugin(tmp_path, "y[i] = a[i] * b[i]", "y[i + 1] = a[i] * b[i]"))
    results = run("times", ("cpu",))
    (failed,) = (result for result in results if result.status == "failed")
    assert failed.name == "indices" and "outside the array 'y'" in failed.message
    assert {result.message for result in results[results.index(failed) + 1 :]} == {"needs what indices checks"}


def test_an_elementwise_layer_has_no_self(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from netspec.plugin import Elementwise, register\n\n\n@register('own')\nclass Own(Elementwise):\n"
        "    def forward(self, x):\n        return x\n\n    def backward(dy):\n        return dy\n"
    )
    with pytest.raises(NetspecError, match="leave out self"):
        load_plugin(file)


def test_a_misspelt_attribute_is_no_second_input(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from netspec.plugin import Elementwise, number, register\n\n\n@register('own')\nclass Own(Elementwise):\n"
        "    attrs = {'slope': number('Slope.', default=0.1)}\n\n"
        "    def forward(x, slop):\n        return slop * x\n\n"
        "    def backward(dy, slope):\n        return slope * dy\n"
    )
    with pytest.raises(NetspecError, match=r"own.py:8: .*'slop' would be an input.*did you mean 'slope'"):
        load_plugin(file)
