"""``data.augment`` and what version 0.1 has for it: one Spec for each way to write the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from netspec.data.augment import used
from netspec.errors import SpecError
from netspec.planning import build, check
from netspec.spec import canonical, load, loads, resolved, schema

COLOUR = {"sigma": 0.1, "magnitude": "eigenvalue", "rescale": False}
BASE = """\
netspec: 1
name: base
inputs:
  image: {shape: [24, 24, 3]}
  label: {dtype: int32}
layers:
  - {name: fc, type: dense, inputs: image, units: 10, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
"""


def data(text: str, *sets: str) -> Any:
    """The ``data`` section of a spec that must be one in every reader's eyes, and survive being written out."""
    whole = f"{BASE}data: {text}\n"
    spec = loads(whole, overrides=sets)
    assert loads(resolved(spec)) == spec
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(whole))
    return spec.data


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{}", ["crop"]),
        ("{mirror: true}", ["crop", "mirror"]),
        ("{augment: {mirror: on}}", ["crop", "mirror"]),
        ("{augment: {mirror: {}, crop: true}}", ["crop", "mirror"]),
        ("{mirror: true, augment: {mirror: false}}", ["crop"]),
        ("{augment: {crop: off}}", []),
        ("{mirror: true, augment: off}", []),
        ("{mirror: true, augment: null}", []),
        ("{augment: {random_resized_crop: on}}", ["random_resized_crop"]),
        ("{augment: {random_resized_crop: on, crop: off}}", ["random_resized_crop"]),
        ("{augment: {random_resized_crop: off, crop: {}}}", ["crop"]),
        ("{augment: {cutout: {}, colour: null, translate: {pixels: 2}}}", ["crop", "cutout", "translate"]),
        ("{augment: {translate: {pixels: 2}, cutout: on}}", ["crop", "translate", "cutout"]),
    ],
)
def test_what_is_used_in_which_order(text: str, names: list[str]) -> None:
    assert list(used(data(text))) == names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{mirror: true}", "{augment: {mirror: {}}}"),
        ("{}", "{augment: {crop: on, colour: off}}"),
        ("{mirror: false, augment: {crop: off}}", "{mirror: true, augment: off}"),
        ("{augment: {random_resized_crop: on}}", "{augment: {crop: off, random_resized_crop: {min_area: 0.08}}}"),
    ],
)
def test_two_ways_to_write_the_same(one: str, other: str) -> None:
    assert data(one) == data(other)


@pytest.mark.parametrize("change", ["colour=off", "colour=false", "colour=null"])
def test_one_line_turns_one_off(change: str, tmp_path: Path) -> None:
    with_it, without = load("alexnet"), load("alexnet", [f"data.augment.{change}"])
    assert used(with_it.data) == {"crop": {}, "mirror": {}, "colour": COLOUR}
    assert used(without.data) == {"crop": {}, "mirror": {}}
    variant = tmp_path / "variant.yaml"
    variant.write_text("netspec: 1\nname: alexnet\nextends: alexnet\ndata: {augment: {colour: off}}\n")
    assert load(variant) == without


def test_specs_of_version_0_1_stay_as_they_were() -> None:
    """Their checkpoints hold no such key: a run that goes on from one is the same run."""
    written = canonical(loads(BASE + "data: {resize: 32, crop: 24, mirror: true}\n"))["data"]
    assert list(written) == ["source", "resize", "crop", "mirror", "mean", "scale", "views", "workers"]
    assert used(load("alexnet", ["data.mirror=false"]).data) == {"crop": {}, "colour": COLOUR}


def test_mixed_labels_are_fed_in_training_alone() -> None:
    plain, mixed = (loads(BASE + f"data: {{augment: {{mixup: {word}}}}}\n") for word in ("off", "on"))
    for phase in ("eval", "predict"):
        assert build(plain, phase) == build(mixed, phase)
    more = {str(key) for key in build(mixed, "train").buffers} - {str(key) for key in build(plain, "train").buffers}
    assert more == {"label.other@main", "label.share@main"}


NUMBERS = BASE.replace("label: {dtype: int32}", "place: {shape: [10]}").replace(
    "softmax_loss, inputs: [fc, label]", "mse, inputs: [fc, place]"
)
"""A network that learns numbers."""


def test_what_cannot_learn_from_mixed_labels_is_refused_with_its_place() -> None:
    spec = loads(NUMBERS + "data:\n  augment:\n    mixup: on\n", "net.yaml")
    with pytest.raises(SpecError) as caught:
        check(spec)
    (problem,) = [one for one in caught.value.problems if "mixup" in one.message]
    assert problem.message == "'mixup' mixes labels too, and 'loss', a mse layer, learns from no mixed ones"
    assert problem.mark is not None and (problem.mark.line, problem.mark.column) == (11, 5)


def test_a_network_without_images_has_nothing_to_mix() -> None:
    numbers = BASE.replace("shape: [24, 24, 3]", "shape: [24]")
    with pytest.raises(SpecError, match="'mixup' mixes images, and the network reads none"):
        check(loads(numbers + "data: {augment: {mixup: on}}\n"))


def test_colours_cost_a_plan_nothing_where_they_are_not_altered() -> None:
    plain, coloured = (
        loads(BASE + f"data: {{augment: {{colour: {word}, cutout: on}}}}\n") for word in ("off", "on")
    )
    for phase in ("eval", "predict"):
        assert build(plain, phase) == build(coloured, phase)
    more = {str(key) for key in build(coloured, "train").buffers} - {str(key) for key in build(plain, "train").buffers}
    assert more == {"image.tint@main", "image.components@main"}
