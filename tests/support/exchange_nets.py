"""Networks to compare with those of other programs: shipped ones, and single layers, with random tensors and inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from places import ROOT

from netspec.check.subject import Subject
from netspec.registry import layer_types
from netspec.spec import load, loads
from netspec.spec.types import Spec

SPECS = ROOT / "specs"
LIGHT = ("quickstart", "video", "regression", "cifar10-quick", "cifar10-18pct", "cifar10-11pct")
"""Specs that cover all layers at small cost."""


def spec_file(name: str) -> Spec:
    return load(SPECS / f"{name}.yaml")


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Any]:
    """Random tensors, so large that every layer's answer depends on them, and a mean image of bytes."""
    chance = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        spread = 1 / np.sqrt(max(1, np.prod(shape[:-1]))) if len(shape) > 1 else 0.1
        arrays[name] = chance.normal(0, spread, shape).astype(np.float32)
        if name.endswith(".mean") and len(shape) > 1:
            arrays[name] = chance.uniform(90, 160, shape).astype(np.float32)
        if name.endswith(".variance"):
            arrays[name] = chance.uniform(0.5, 2, shape).astype(np.float32)
    return arrays


def inputs(spec: Spec, seed: int, batch: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed + 1)
    feeds = {}
    for name, one in spec.inputs.items():
        shape = (batch, *one.shape)
        if one.dtype == "int32":
            continue
        image = len(shape) in (4, 5)
        feeds[name] = chance.integers(0, 256, shape, np.uint8) if image else chance.normal(size=shape).astype("f4")
    return feeds


def single(kind: str, attrs: Mapping[str, Any], shapes: list[tuple[int, ...]]) -> Spec:
    """A network of one layer between float inputs and the answer."""
    images = [f"  x{i}: {{shape: {json.dumps(list(shape[1:]))}}}" for i, shape in enumerate(shapes)]
    layer = json.dumps({"name": "only", "type": kind, "inputs": [f"x{i}" for i in range(len(shapes))], **attrs})
    return loads(
        "netspec: 1\nname: single\ndevices: [main]\ninputs:\n" + "\n".join(images) + f"\nlayers:\n  - {layer}\n"
        "data: {mean: none, scale: 0.01}\n",
        "single.yaml",
    )


CASES = [
    pytest.param(case, id=f"{kind}-{number}")
    for kind, cls in layer_types().items()
    if cls.__module__.startswith("netspec.layers") and not cls.reports
    for number, case in enumerate(Subject(kind).cases)
]
