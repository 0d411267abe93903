"""Layers whose products by wgmma and TMA have an edge of each kind, beside plain kernels in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from compiled import CONV, DEFAULTS

from netspec.check.subject import Case, cpu
from netspec.check.writes import trip
from netspec.contract.tensor import Tensor
from netspec.device.base import Device
from netspec.registry import layer_types

NEAR = 4e-3
"""Errors against the largest result: results are rounded to 8 bits, factors are as they are stored."""
CONVOLUTIONS: dict[str, tuple[dict[str, Any], tuple[int, ...], str]] = {
    "two tiles of rows, the last one in part, and more stages than the ring has": (
        {"filters": 16, "size": 3, "pad": 1}, (2, 9, 8, 16), "64_64",
    ),
    "two boxes of channels a tap, tiles of columns beyond the filters": (
        {"filters": 72, "size": [1, 2]}, (1, 3, 4, 136), "64_96",
    ),
    "groups whose channels and filters fill no box": (
        {"filters": 144, "size": 3, "pad": 1, "groups": 2, "bias": False}, (1, 4, 5, 96), "96_48",
    ),
    "strides, windows that hang over the edge, padding that is not the same everywhere": (
        {"filters": 40, "size": [3, 2], "stride": [2, 3], "pad": [1, 0, 2, 1], "rounding": "ceil"},
        (3, 9, 8, 8),
        "64_64",
    ),
    "pixels in no window": ({"filters": 8, "size": 1, "stride": 2}, (2, 5, 5, 8), "64_64"),
    "wide tiles": ({"filters": 256, "size": 1}, (1, 3, 3, 192), "256_192"),
    "others": ({"filters": 128, "size": 1}, (1, 3, 3, 256), "128_256"),
    "and others": ({"filters": 192, "size": 1}, (1, 3, 3, 128), "192_128"),
}  # fmt: skip
DENSE: dict[str, tuple[dict[str, Any], tuple[int, ...], str]] = {
    "images, and columns beyond the units": ({"units": 72}, (5, 3, 4, 24), "64"),
    "two tiles of rows, in chunks": ({"units": 120, "bias": False}, (130, 904), "128_split"),
    "fewer of all than a box": ({"units": 8}, (3, 8), "64"),
    "gradients in chunks": ({"units": 904}, (4, 72), "64_split"),
    "wide tiles": ({"units": 256}, (4, 72), "256"),
    "others": ({"units": 192}, (4, 72), "192"),
}  # fmt: skip
"""Attributes, the input's shape, and the variant's name behind bf16_wgmma_."""
PRODUCTS = {
    **{f"conv: {name}": ("conv", {**CONV, **attrs}, *rest) for name, (attrs, *rest) in CONVOLUTIONS.items()},
    **{f"dense: {name}": ("dense", {**DEFAULTS, **attrs}, *rest) for name, (attrs, *rest) in DENSE.items()},
}


def check(device: Device, layer_type: str, attrs: dict[str, Any], shape: tuple[int, ...], columns: str) -> None:
    """``check_variant`` of bf16_wgmma_..."""
    check_variant(device, layer_type, attrs, shape, f"bf16_wgmma_{columns}")


def check_variant(device: Device, layer_type: str, attrs: dict[str, Any], shape: tuple[int, ...], variant: str) -> None:
    """A variant's results beside those of the plain CPU kernels of the same numbers."""
    case = Case(layer_types()[layer_type], attrs, (Tensor(shape, "float32"),))
    card = case.stored_as_bfloat16().on(device, variant=variant)
    assert card.layer.supports(card.t, card.variant)
    random, names = np.random.default_rng(3), [name for name in card.t.roles if name != "y"]
    drawn = {name: random.standard_normal(card.t[name].shape) for name in names}
    values = card.rounded({**drawn, "dy": random.standard_normal(card.t.y.shape)})
    exact = {name: np.asarray(value, np.float64) for name, value in values.items()}
    got = trip(card, values).written
    for name, wanted in trip(case.on(cpu(), dtype="float64"), exact).written.items():
        assert np.abs(got[name].astype(np.float64) - wanted).max() <= NEAR * np.abs(wanted).max(), name
