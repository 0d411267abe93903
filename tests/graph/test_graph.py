"""Pictures: everything is shown once, nothing overlaps, and the text is what its format asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest
from places import ROOT

from netspec.errors import NetspecError
from netspec.graph import FORMATS, draw
from netspec.graph.labels import attribute_text, shape_text, width
from netspec.graph.placement import Box, lay_out
from netspec.graph.view import view
from netspec.planning import Plan, build
from netspec.spec import canonical, from_canonical, load, loads

SPECS = ROOT / "specs"
BRANCHES = """
netspec: 1
name: branches
devices: [left, right]
inputs: {image: {shape: [16, 16, 3]}, label: {dtype: int32}}
defaults: {conv: {size: 3, pad: 1}}
layers:
  - {name: stem, type: conv, device: [left, right], inputs: image, filters: 8}
  - {name: short, type: conv, filters: 8, inputs: stem}
  - {name: long1, type: conv, filters: 8, inputs: stem}
  - {name: long2, type: conv, filters: 8}
  - {name: long3, type: conv, filters: 8}
  - {name: join, type: concat, inputs: [short, long3, stem]}
  - {name: mix, type: conv, filters: 8, inputs: {from: join, connect: all}}
  - {name: add, type: sum, inputs: [mix, stem]}
  - {name: aux, type: dense, device: right, units: 4, inputs: {from: long1, connect: all}}
  - {name: auxloss, type: softmax_loss, inputs: [aux, label]}
  - {name: fc, type: dense, device: left, units: 4, inputs: {from: add, connect: all}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
"""


def plan_of(name: str) -> Plan:
    """The training plan of a shipped spec, or of the one above."""
    spec = loads(BRANCHES) if name == "branches" else load(SPECS / f"{name}.yaml")
    return build(spec, "train", batch=2 if name == "branches" else None)


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share area."""
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.bottom and b.y < a.bottom


@pytest.fixture(scope="module", params=["alexnet", "alexnet-2012", "alexnet-one-device", "cifar10-18pct", "branches"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_of(request.param)


def test_boxes_lie_in_their_lanes_and_apart(plan: Plan) -> None:
    layout = lay_out(view(plan))
    lanes = {lane.device: lane for lane in layout.lanes}
    for box in layout.boxes:
        lane = lanes[box.node.device]
        assert lane.x < box.x and box.x + box.width < lane.x + lane.width
        assert lane.y < box.y and box.bottom < lane.y + lane.height
    assert not [(a.node.key, b.node.key) for a, b in combinations(layout.boxes, 2) if overlap(a, b)]


@pytest.mark.parametrize("name", ["autoencoder", "resnet18"])
def test_settings_and_parameters_fit_side_by_side(name: str) -> None:
    for box in lay_out(view(plan_of(name))).boxes:
        if box.node.parameters:
            told = (", ".join(box.node.details), f"{box.node.parameters:,} parameters")
            assert sum(width(text, 11) for text in told) < box.width - 26, box.node.key


def test_wires_go_down_and_end_at_boxes(plan: Plan) -> None:
    layout = lay_out(view(plan))
    boxes = {box.node.key: box for box in layout.boxes}
    for wire in layout.wires:
        heights = [y for _, y in wire.points]
        assert heights == sorted(heights)
        assert (heights[0], heights[-1]) == (boxes[wire.link.source].bottom, boxes[wire.link.target].y)
        target = boxes[wire.link.target]
        assert target.x < wire.points[-1][0] < target.x + target.width


def test_no_two_wires_share_an_end(plan: Plan) -> None:
    layout = lay_out(view(plan))
    for place in (0, -1):
        ends = [wire.points[place] for wire in layout.wires]
        assert len(set(ends)) == len(ends)


@pytest.mark.parametrize("format", FORMATS)
def test_every_shard_is_shown(plan: Plan, format: str) -> None:
    text = draw(plan, format)
    for name in {shard.layer for shard in plan.shards}:
        shards = sum(shard.layer == name for shard in plan.shards)
        shown = {"svg": f">{name}</tspan>", "mmd": f"<b>{name}</b>", "dot": f'label="{name}: '}[format]
        assert text.count(shown) == shards
    assert draw(plan, format) == text


def test_svg_is_well_formed_and_self_contained(plan: Plan) -> None:
    text = draw(plan, "svg")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in text and "href" not in text and "url(" not in text
    classes = {name for element in root.iter() for name in element.get("class", "").split()}
    assert classes <= set(re.findall(r"\.([a-z0-9-]+)", text.split("<style>")[1].split("@media")[0]))


def test_alexnet_shows_its_four_crossings() -> None:
    plan = plan_of("alexnet")
    svg = draw(plan, "svg")
    assert [svg.count(f">{label}</text>") for label in ("10.6 MiB", "2.25 MiB", "1.00 MiB")] == [2, 2, 3]
    assert "60,965,224 parameters" in svg and "57.2 MiB cross" in svg
    assert draw(plan, "mmd").count("==>") == draw(plan, "dot").count("penwidth") == 7
    assert "cross" not in draw(plan_of("alexnet-one-device"), "mmd")


def test_layers_of_a_type_show_the_same_attributes() -> None:
    svg = draw(plan_of("alexnet"), "svg")
    assert svg.count(">max, size 3, stride 2<") == 6 and svg.count(">size 3, pad 1, ceil<") == 6


def test_a_long_attribute_is_cut() -> None:
    assert attribute_text("note", "x" * 100) == "x" * 23 + "\N{HORIZONTAL ELLIPSIS}"


def test_names_are_escaped() -> None:
    plan = replace(plan_of("branches"), name="branches & <more>")
    assert "branches &amp; &lt;more&gt;" in draw(plan, "svg")


def test_unknown_format() -> None:
    with pytest.raises(NetspecError, match="cannot draw 'png': the formats are svg, mmd, dot"):
        draw(plan_of("branches"), "png")


def test_words() -> None:
    assert shape_text((128, 55, 55, 48)).split() == ["55", "\N{MULTIPLICATION SIGN}"] * 2 + ["48"]
    assert [attribute_text("pad", 2), attribute_text("pad", [0, 3]), attribute_text("size", [5, 5])] == [
        "pad 2",
        "pad 0/3",
        "size 5",
    ]
    assert attribute_text("mode", "max") == "max"


FRAMED = """
netspec: 1
name: framed
devices: [left, right]
inputs: {image: {shape: [8, 8, 3]}, label: {dtype: int32}}
defaults: {conv: {size: 1}}
blocks:
  unit:
    attributes: {filters: required}
    inputs: x
    layers:
      - {name: conv, type: conv, inputs: x, filters: $filters}
      - {name: relu, type: relu}
  twice:
    inputs: x
    layers:
      - {name: first, type: unit, inputs: x, filters: 4}
      - {name: second, type: unit, filters: 4}
  fork:
    inputs: x
    layers:
      - {name: short, type: unit, inputs: x, filters: 4}
      - {name: long, type: twice, inputs: x}
      - {name: pool, type: pool, inputs: x, mode: max, size: 1}
      - {name: late, type: unit, filters: 4}
      - {name: join, type: concat, inputs: [short, long, late]}
layers:
  - {name: stem, type: conv, device: [left, right], inputs: image, filters: 8}
  - {name: a, type: fork}
  - {name: b, type: fork, inputs: a, within: outer}
  - {name: aside, type: conv, inputs: a, filters: 8}
  - {name: sum, type: concat, inputs: [b, aside], within: [outer]}
  - {name: fc, type: dense, device: left, units: 4, inputs: {from: sum, connect: all}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
"""


def test_frames_hold_their_layers_and_nothing_else() -> None:
    layout = lay_out(view(build(loads(FRAMED), "train", batch=2)))
    for outline in layout.outlines:
        own = [box for box in layout.boxes if box.node.device == outline.device and outline.name in box.node.within]
        assert own
        for box in layout.boxes:
            across = outline.x < box.x + box.width and box.x < outline.x + outline.width
            down = outline.y < box.bottom and box.y < outline.y + outline.height
            if box in own:
                assert outline.x < box.x and box.x + box.width < outline.x + outline.width
                assert outline.y + 14 < box.y and box.bottom < outline.y + outline.height
            else:
                assert not (across and down), (outline.name, box.node.key)


def test_frames_lie_in_one_another_or_apart() -> None:
    layout = lay_out(view(build(loads(FRAMED), "train", batch=2)))
    assert [(one.name, one.device) for one in layout.outlines].count(("outer", "right")) == 1
    names = {"b-long-second": 3, "b-long": 2, "b": 1, "outer": 0}
    depths = {one.name: one for one in layout.outlines if one.device == "left" and one.name in names}
    for name, around in (("b-long-second", "b-long"), ("b-long", "b"), ("b", "outer")):
        inner, outer = depths[name], depths[around]
        assert outer.x < inner.x and inner.x + inner.width < outer.x + outer.width
        assert outer.y < inner.y and inner.y + inner.height < outer.y + outer.height
    for lane in layout.lanes:
        for one in layout.outlines:
            if one.device == lane.device:
                assert lane.x < one.x and one.x + one.width < lane.x + lane.width
                assert lane.y < one.y and one.y + one.height < lane.y + lane.height


def test_links_pass_boxes_and_frames_that_they_have_no_end_in() -> None:
    """Straight below their source where there is room, as beside a longer branch, else outside of all boxes."""
    layout = lay_out(view(build(loads(FRAMED), "train", batch=2)))
    passing = [wire for wire in layout.wires if len(wire.points) == 4]
    assert {str(wire.link.source) for wire in passing} >= {"a-short-relu@left", "a-short-relu@right"}
    for wire in passing:
        (x, top), (_, bottom) = wire.points[1:3]
        for box in layout.boxes:
            assert not (box.x < x < box.x + box.width and box.y < bottom and top < box.bottom), wire.link


@pytest.mark.parametrize("format", FORMATS)
def test_every_frame_is_drawn_on_each_device(format: str) -> None:
    text = draw(build(loads(FRAMED), "train", batch=2), format)
    for name in ("outer", "a", "b", "a-short", "a-long", "a-long-first", "b-late"):
        shown = {"svg": f">{name}</text>", "mmd": f'["{name}"]', "dot": f'label="{name}";'}[format]
        assert text.count(shown) == 2, name
    assert "frame" not in draw(plan_of("branches"), format)


def test_a_run_keeps_its_frames() -> None:
    spec = loads(FRAMED)
    again = from_canonical(canonical(spec))
    assert [layer.within for layer in again.layers] == [layer.within for layer in spec.layers]
    assert draw(build(again, "train"), "svg") == draw(build(spec, "train"), "svg")
