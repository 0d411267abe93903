"""Binding: memory that is not what a layer or the plan has declared is an error with names, before a kernel runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from nets import TWO_TOWERS, named, network

from netspec.planning import Buffer
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.session import Session


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "conv2.y@left",
            {"shape": (6, 2, 2, 2)},
            r"'y' of step 'conv2.forward@left' is declared as float32 \[6, 2, 2, 4\], buffer 'conv2.y@left' is planned "
            r"as float32 \[6, 2, 2, 2\], its array is float32 \[6, 2, 2, 2\]",
        ),
        ("relu2.d_x@right", {"dtype": "int32"}, r"'d_x' of step 'relu2.backward@right' is .*float32.* int32 .* int32"),
        ("conv1.weight@left", {"shape": (3, 3, 3, 5)}, r"'weight' of step 'conv1.forward@left' .*its array is"),
        ("label@left", {"dtype": "int64"}, r"'label' of step 'loss.forward@left' is declared as int32 \[6\], buffer"),
    ],
)
def test_a_buffer_that_is_not_what_was_declared(name: str, changes: dict[str, Any], message: str) -> None:
    spec = network(TWO_TOWERS)
    spec = replace(spec, train=replace(spec.train, fuse=False))
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train",)) as session:
        program, devices = session.programs["train"], session.devices
        key = named(program.buffers, name)
        buffers: dict[Any, Buffer] = {**program.buffers, key: replace(program.buffers[key], **changes)}
        arenas = {device: devices[device].arena(2 * size) for device, size in program.arenas.items()}
        with pytest.raises(RuntimeError, match=message):
            BoundProgram(replace(program, buffers=buffers), devices, session.store, arenas)
