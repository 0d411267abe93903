"""Which kernels a Program takes, how a spec switches some off, and how those with a bound of their own are named."""

from __future__ import annotations

import pytest
from nets import batch, network

from netspec.planning import build
from netspec.program import Program, lower, plain_products
from netspec.runners.execution.session import Session
from netspec.spec import load

TEXT = """
    netspec: 1
    name: one
    devices: [main]
    inputs:
      image: {shape: [12, 12, 16]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: he}}
      dense: {init: {type: he}}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 32, size: 3, pad: 1}
      - {name: fc2, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc2, label]}
    train: {batch: 6, cpu: {winograd: true}}
    data: {mean: none, scale: 0.01}
"""


def variant(program: Program) -> str:
    """The variant of conv1's forward pass."""
    return next(str(step.attrs["variant"]) for step in program.steps if step.name == "conv1.forward@main")


def test_winograd_is_taken_where_it_fits_and_named_with_its_bound() -> None:
    with Session(network(TEXT), ["cpu:0"], phases=("predict",)) as session:
        assert variant(session.programs["predict"]) == "winograd"
        assert any("conv1: winograd kernels, with an error bound of" in note for note in session.notes)


def test_a_spec_switches_it_off_and_gets_nearly_the_same_numbers() -> None:
    images = batch(0, (12, 12, 16))
    probs = []
    for text in (TEXT, TEXT.replace("winograd: true", "winograd: false")):
        with Session(network(text), ["cpu:0"], phases=("predict",)) as session:
            probs.append(session.predict(images, 6))
            notes = " ".join(session.notes)
    assert variant(session.programs["predict"]) == "direct"
    assert "winograd" not in notes
    assert abs(probs[0] - probs[1]).max() < 1e-4
    assert (probs[0] != probs[1]).any()


@pytest.mark.parametrize(("images", "told"), [(7000, ""), (8192, "conv1: plain kernels, many times slower")])
def test_matrix_products_too_large_for_tensor_cores_are_told(images: int, told: str) -> None:
    """Indices of 31 bits reach 7,392 images of 55 x 55 pixels and 96 channels, and a little less."""
    plan = build(load("alexnet-one-device"), "train", images)
    program = lower(plan, dict.fromkeys(plan.devices, "cuda"), dict.fromkeys(plan.devices, 1))
    assert " ".join(plain_products([program])).startswith(told)
    assert bool(plain_products([program])) == bool(told)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0), (12, 0)])
@pytest.mark.parametrize("filters", [11, 12, 16])
def test_tensor_cores_take_any_channels_in_bfloat16(filters: int, capability: tuple[int, int]) -> None:
    plan = build(load("quickstart", [f"layers.conv1.filters={2 * filters}"]), storage="bfloat16")
    kinds, teams, capabilities = (dict.fromkeys(plan.devices, one) for one in ("cuda", 1, capability))
    assert plain_products([lower(plan, kinds, teams, capabilities=capabilities)]) == ()
