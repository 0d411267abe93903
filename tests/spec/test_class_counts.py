"""``units: classes``: layers with as many outputs as there are classes."""

from __future__ import annotations

import json

import jsonschema
import pytest
from spec_texts import NET

from netspec.errors import SpecError
from netspec.planning import build
from netspec.planning.trainable import count_outputs
from netspec.spec import canonical, from_canonical, load, loads, resolved, schema
from netspec.spec.class_counts import assumed, following, settled, stated_count
from netspec.spec.types import Spec

FOLLOWING = NET.replace("units: 10", "units: classes")
FOLDER = "data.source={type: folder, path: photos}"


def outputs(spec: Spec) -> int | None:
    """Of the network, as it is planned."""
    return count_outputs(build(spec, "predict", 1))


def said(text: str, *overrides: str) -> str:
    with pytest.raises(SpecError) as error:
        loads(text, overrides=overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ((), 1000),
        (("data.source={type: generated, classes: 12}",), 12),
        (("data.classes=12",), 12),
        (("data.source=moving",), 8),
        (("data.source=moving", "data.classes=4"), 4),
        ((FOLDER,), 1000),
        ((FOLDER, "data.classes=7"), 7),
        (("data.classes=12", "layers.fc.units=5"), 5),
    ],
)
def test_the_count_is_what_is_known_before_the_images_are_looked_at(overrides: tuple[str, ...], count: int) -> None:
    spec = loads(FOLLOWING, overrides=overrides)
    assert spec.layer("fc").attrs["units"] == count == outputs(spec)
    assert stated_count(loads(FOLLOWING, overrides=[FOLDER]).data) is None


def test_what_is_assumed_is_told() -> None:
    (line,) = assumed(loads(FOLLOWING, overrides=[FOLDER]))
    assert line == "fc.units: 1,000 until the images are looked at; data.classes says how many there are"
    assert not assumed(loads(FOLLOWING)) and not assumed(loads(NET, overrides=[FOLDER]))
    assert not assumed(loads(FOLLOWING, overrides=[FOLDER, "data.classes=7"]))


def test_a_resolved_spec_still_follows_and_a_settled_one_has_numbers() -> None:
    spec = loads(FOLLOWING, overrides=["data.classes=12"])
    assert following(spec) == ["fc.units"]
    assert loads(resolved(spec)) == spec == from_canonical(json.loads(json.dumps(canonical(spec))))
    assert "units: classes" in resolved(spec)
    assert outputs(loads(resolved(spec), overrides=["data.source.classes=5"])) == 5
    fixed = settled(spec, 3)
    assert not following(fixed) and outputs(fixed) == 3 and "units: 3" in resolved(fixed)
    assert outputs(settled(spec)) == 12 and settled(fixed, 7) == fixed


def test_defaults_and_filters_may_follow_too() -> None:
    text = FOLLOWING.replace(", units: classes", "").replace("defaults:", "defaults:\n  dense: {units: classes}", 1)
    assert following(loads(text)) == ["fc.units"]
    conv = loads(FOLLOWING, overrides=["layers.conv2.filters=classes", "data.classes=6"])
    assert conv.layer("conv2").attrs["filters"] == 6


def test_faults_are_told_with_their_place() -> None:
    assert "'units' must be a whole number of at least 1, got 'clases' (did you mean 'classes'?)" in said(
        FOLLOWING, "layers.fc.units=clases"
    )
    assert "'size' must be" in said(FOLLOWING, "layers.conv2.size=classes")
    assert "'data.classes' is 20, but 'generated' draws 10" in said(
        FOLLOWING, "data.source={type: generated, classes: 10}", "data.classes=20"
    )
    assert "'generated' has a whole number of at least 1 and at most 1000 of classes" in said(
        FOLLOWING, "data.classes=2000"
    )


def test_editors_know_the_word() -> None:
    whole = canonical(loads(FOLLOWING))
    jsonschema.Draft202012Validator(schema()).validate(whole)
    fc = next(layer for layer in whole["layers"] if layer["name"] == "fc")
    fc["units"] = "clases"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(whole)


@pytest.mark.parametrize(
    ("name", "count"),
    [("alexnet", 1000), ("alexnet-star", 1000), ("quickstart", 10), ("cifar10-11pct", 10), ("video", 8)],
)
def test_shipped_specs_follow_and_are_what_they_were(name: str, count: int) -> None:
    assert following(load(name)) and outputs(load(name)) == count
