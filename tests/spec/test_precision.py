"""train.precision and its other name, train.cuda.precision: one value, wherever it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from netspec.errors import SpecError
from netspec.spec import canonical, from_canonical, load, loads, resolved
from netspec.spec.types import Spec

NET = """netspec: 1
inputs: {{image: {{shape: [4, 4, 3]}}, label: {{dtype: int32}}}}
layers:
  - {{name: fc1, type: dense, inputs: image, units: 3, init: {{type: gaussian, std: 0.1}}}}
  - {{name: loss, type: softmax_loss, inputs: [fc1, label]}}
train: {train}
"""


def spec(train: str, *overrides: str) -> Spec:
    return loads(NET.format(train=train), "net.yaml", overrides)


@pytest.mark.parametrize("train", [
    "{precision: bf16}", "{cuda: {precision: bf16}}", "{precision: bf16, cuda: {precision: bf16}}",
])  # fmt: skip
def test_both_names_mean_the_same(train: str) -> None:
    found = spec(train)
    assert found.train.precision == "bf16"
    assert found == spec("{precision: bf16}")
    assert found.train.without["cuda"] == {"float32", "tf32"}
    assert found.marks["train.precision"].line == 6
    assert "precision: bf16 " in resolved(found) and "net.yaml:6" in resolved(found) and "cuda" not in resolved(found)


def test_unsaid_it_is_tf32_on_gpus() -> None:
    for train in ("{}", "{cuda: {}}", "{cuda: {precision: null}}"):
        assert spec(train).train.precision == "tf32"


def test_a_later_level_wins_by_either_name(tmp_path: Path) -> None:
    assert spec("{cuda: {precision: bf16}}", "train.precision=float32").train.precision == "float32"
    assert spec("{precision: bf16}", "train.cuda.precision=float32").train.precision == "float32"
    (tmp_path / "base.yaml").write_text(NET.format(train="{cuda: {precision: float32}}"))
    (tmp_path / "own.yaml").write_text("netspec: 1\nextends: base.yaml\ntrain: {precision: bf16}\n")
    assert load(tmp_path / "own.yaml").train.precision == "bf16"


def test_two_that_differ_are_refused_with_their_place() -> None:
    with pytest.raises(SpecError) as caught:
        spec("{precision: tf32, cuda: {precision: bf16}}")
    (problem,) = caught.value.problems
    assert str(problem.mark) == "net.yaml:6:33"
    assert problem.message == "'train.cuda.precision' is 'bf16', but 'train.precision' is 'tf32': they mean the same"


def test_records_that_have_the_other_name_are_read() -> None:
    wanted = spec("{precision: bf16}")
    old = canonical(wanted)
    del old["train"]["precision"]
    old["train"]["cuda"] = {"precision": "bf16"}
    assert from_canonical(old) == wanted
    assert canonical(from_canonical(old)) == canonical(wanted)
