"""Composites: types of layers that Python states as other layers."""

from __future__ import annotations

import re

import pytest
from places import ROOT

from netspec.check import suite
from netspec.errors import NetspecError, SpecError
from netspec.plugin import Composite, LayerError, integer, register
from netspec.registry import load_plugin, registered
from netspec.registry.registry import forget
from netspec.rundir.differences import differences
from netspec.spec import canonical, loads, schema

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HEAD = "netspec: 1\ninputs: {image: {shape: [8, 8, 3]}, label: {dtype: int32}}\n"
USE = "  - {name: d, type: dense_block, inputs: image, depth: 2}\n"
TAIL = "  - {name: fc, type: dense, units: 3}\n  - {name: loss, type: softmax_loss, inputs: [fc, label]}\n"


@pytest.fixture(autouse=True)
def dense_block(tmp_path):
    """The composite that the page on plugins shows."""
    file = tmp_path / "dense_block.py"
    file.write_text(re.search(r"```python\n(# dense_block.py\n.*?)```", PAGE, re.DOTALL)[1])
    assert load_plugin(file) == ("composites.dense_block",)
    yield file
    forget(registered()["composites.dense_block"].__module__)
    forget(__name__)


def network(layers: str, more: str = ""):
    return loads(f"{HEAD}{more}layers:\n{layers}", "net.yaml")


def failed(name: str) -> dict[str, str]:
    return {one.name: one.message for one in suite.run(f"composites.{name}") if one.status == "failed"}


def test_a_composite_is_its_layers() -> None:
    defaults = "defaults: {dense: {init: {type: he}}}\n"
    conv = "type: conv, filters: 4, size: 3, pad: 1, init: {type: he}"
    long = f"""\
  - {{name: d-conv1, {conv}, inputs: image}}
  - {{name: d-relu1, type: relu}}
  - {{name: d-conv2, {conv}, inputs: [image, d-relu1]}}
  - {{name: d-relu2, type: relu}}
  - {{name: d-join, type: concat, inputs: [image, d-relu1, d-relu2]}}
"""
    assert not differences(canonical(network(USE + TAIL, defaults)), canonical(network(long + TAIL, defaults)))


def test_the_suite_passes_and_editors_know_it() -> None:
    assert {one.status for one in suite.run("composites.dense_block")} == {"passed"}
    assert "dense_block" in str(schema()["$defs"]["layer"]["properties"]["type"])


@pytest.mark.parametrize(
    "use, message",
    [
        ("depth: 0", "net.yaml:4:56: d: 'depth' must be a whole number of at least 1, got 0"),
        ("dept: 2", "net.yaml:4:49: d: unknown key 'dept' (did you mean 'depth'?)"),
    ],
)
def test_attributes_are_checked(use, message) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        network(USE.replace("depth: 2", use) + TAIL)


def test_names_are_apart_from_layers_and_blocks() -> None:
    with pytest.raises(NetspecError, match="composite 'relu' is registered twice"):
        register("relu")(type("Mine", (Composite,), {"__module__": __name__}))
    with pytest.raises(SpecError, match="'dense_block' is a type of layer"):
        network(USE + TAIL, "blocks: {dense_block: {layers: [{name: a, type: relu}]}}\n")
    with pytest.raises(SpecError, match="'dense_block' is a composite"):
        network(USE + TAIL, "defaults: {dense_block: {depth: 3}}\n")


@register("broken_composite")
class Broken(Composite):
    """Whatever ``how`` says is wrong."""

    attrs = {"how": integer("What is wrong.", default=0)}

    def layers(self):
        wrong = self.attrs.how
        if wrong == 0:
            raise LayerError("how must not be 0", "write 1")
        if wrong == 1:
            return [{"name": "a", "type": "relu"}, {"type": "relu"}]
        if wrong == 2:
            return []
        if wrong == 3:
            return [{"name": "a", "type": "relu", "inputs": "$other"}]
        return [{"name": "a", "type": "relu", "wrong": 1 / 0}]


@pytest.mark.parametrize(
    "how, message",
    [
        (0, "d: how must not be 0 (write 1)"),
        (1, "d: a layer of a block needs a 'name', a word"),
        (2, "d: a block needs 'layers', a list of them"),
        (3, "d: the block has no attribute 'other'"),
        (4, "d: the composite 'broken_composite' raises ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_one_is_told_at_its_use(how, message) -> None:
    register("broken_composite")(Broken)
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        network(f"  - {{name: d, type: broken_composite, inputs: image, how: {how}}}\n" + TAIL)
    assert caught.value.problems[0].mark.line == 4


def test_the_suite_tells_what_is_wrong() -> None:
    register("broken_composite")(Broken)
    assert failed("broken_composite")["plans"].startswith("{}: use: how must not be 0")
