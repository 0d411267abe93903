"""Mistakes of authors who had the docs page alone: each is told once, with its line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from netspec.check import suite
from netspec.errors import NetspecError
from netspec.registry import load_plugin, registered
from netspec.registry.registry import forget

IMPORTS = "from netspec.plugin import ITERATION, Composite, Elementwise, Layer, Param, Rowwise, Solver\n"
MORE = "from netspec.plugin import Tensor, backward, forward, learning_rate, per_element, per_row, register, uniform\n"
COPY = """
class Own(Layer):
    '''y = a factor times x'''
    examples = ({{"attrs": {{}}, "inputs": [(4, 6)]}},)
    def outputs(self, x):
        return Tensor(x.shape, x.dtype)
    @forward("cpu", over="x", axes={axes}, writes="y", phases="train")
    def forward_cpu(start, stop, x, y{more}):
        for n in range(start, stop):
            factor = {factor}
            for c in range(x.shape[-1]):
                y[n, c] = factor * x[n, c]
    @backward("cpu", over="x", axes=0, writes="d_x")
    def backward_cpu(start, stop, x, dy, d_x{more}):
        for n in range(start, stop):
            factor = {factor}
            for c in range(x.shape[-1]):
                d_x[n, c] = factor * dy[n, c]
    @forward("cpu", over="x", writes="y", phases=("eval", "predict"))
    def copy_cpu(start, stop, x, y):
        y[start:stop] = x[start:stop]
"""
KEYS = ", key, counters"
DRAWN = "uniform(key, counters[ITERATION], {})"
GAIN = """
class Own(Rowwise):
    '''y = gain[c] * x / the sum of x'''
    def params(self, x):
        return {"gain": Param(x.shape[-1:], {"type": "constant", "value": 1.0})}
    @per_row("forward", gives="total")
    def squares(x):
        return x * x
    @per_element("forward", writes="y", channels=["gain"])
    def scaled(x, total, gain):
        return gain * x / total
    @per_row("backward", gives="along")
    def products(x, dy, gain):
        return dy * gain * x
    @per_element("backward", writes="d_x", channels=["gain"])
    def d_x(x, dy, gain, total, along):
        return dy * gain / total - 2 * x * along / total / total
"""
FAULTS = {
    "the size of the batch": (COPY.format(axes=0, more="", factor="x.shape[0]"), "replicas", 17, "``over_images``"),
    "numbers of an image": (
        COPY.format(axes=0, more=KEYS, factor=DRAWN.format("n")), "replicas", 17, "add channel_offset to the index"),
    "an axis too many": (COPY.format(axes=(0, 2), more="", factor="2.0"), "marks", 11, "axis 2 of 'x', which is"),
    "a branch without a value": (
        "class Own(Elementwise):\n    '''y = x'''\n    def forward(x):\n        if x > 0:\n            return x\n"
        "    def backward(dy):\n        return dy\n",
        "calls", 7, "forward returns a value at line 9, and none where it comes to its end"),
    "a composite's examples": (
        "class Own(Composite):\n    '''relu'''\n    attrs = {}\n    shapes = ((4, 4, 8),)\n"
        "    examples = ({'inputs': [(2, 4, 4, 8)]},)\n"
        "    def layers(self):\n        yield {'name': 'relu', 'type': 'relu', 'inputs': 'x'}\n",
        "schema", 4, "sets 'inputs', which is no attribute (there is none)"),
}  # fmt: skip
AT_IMPORT = {
    "a channel's number for an element": (GAIN, 16, "Own.products takes 'gain' for an element, and to d_x it"),
    "a row's number further down": (
        GAIN.replace("squares(x)", "squares(x, late)") + "    @per_row('forward', gives='late')\n    def late(x):\n"
        "        return x\n", 10, "'late' is of another pass"),
    "a backward pass's parameter": (
        "class Own(Elementwise):\n    '''y = x'''\n    def forward(x):\n        return x\n    def backward(x, dz):\n"
        "        return dz\n", 9, "Own.backward: ['dz'] are neither inputs"),
    "a solver's state": (
        "class Own(Solver):\n    '''w'''\n    attrs = {'learning_rate': learning_rate(0.1)}\n"
        "    def update(w, g, v, rate):\n        return w - rate * v\n", 8, "Own.update: 'v' is none of rate"),
}  # fmt: skip


def written(folder: Path, text: str) -> Path:
    file = folder / "own.py"
    file.write_text(f'"""A plugin."""\n{IMPORTS}{MORE}@register("own")\n{textwrap.dedent(text).lstrip()}')
    return file


def failures(file: Path) -> list[suite.Result]:
    (name,) = load_plugin(file)
    try:
        return [one for one in suite.run(name, ["cpu"]) if one.status == "failed"]
    finally:
        forget(registered()[name].__module__)


@pytest.mark.parametrize("name", FAULTS)
def test_a_mistake_is_told_once_with_its_line(name: str, tmp_path: Path) -> None:
    text, check, line, words = FAULTS[name]
    file = written(tmp_path, text)
    (failed,) = failures(file)
    assert failed.name == check and f"{file}:{line}" in failed.message and words in failed.message


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_mistake_that_forbids_the_import_names_the_function(name: str, tmp_path: Path) -> None:
    text, line, words = AT_IMPORT[name]
    file = written(tmp_path, text)
    with pytest.raises(NetspecError) as caught:
        load_plugin(file)
    assert str(caught.value).startswith(f"{file}:{line}: cannot be imported: TypeError: Own.")
    assert words in str(caught.value) and str(caught.value).count(str(file)) == 1


def test_numbers_by_place_in_the_whole_batch_and_a_cost_without_an_answer_pass(tmp_path: Path) -> None:
    more, image = f"{KEYS}, channel_offset, channel_count", DRAWN.format("n + channel_offset // channel_count")
    assert not failures(written(tmp_path, COPY.format(axes=0, more=more, factor=image)))
    cost = """
    class Own(Rowwise):
        '''loss = mean of a * b'''
        inputs, reports = ("a", "b"), ("loss", "count")
        examples = ({"attrs": {}, "inputs": [(5, 7), (5, 7)]},)
        def outputs(self, a, b):
            return {"report": Tensor((2,), differentiable=False)}
        @per_row("forward", total="report", finish=counted)
        def products(a, b):
            return a * b
        @per_element("backward", writes=("d_a", "d_b"))
        def slopes(a, b, valid, images):
            return b * valid / images, a * valid / images
    """
    file = written(tmp_path, cost)
    file.write_text(file.read_text().replace("@register", "def counted(total):\n    return total, 1.0\n@register"))
    assert not failures(file)
