"""Layers whose products by mma.sync of what is bfloat16 in memory have an edge of each kind."""

from __future__ import annotations

from typing import Any

from compiled import CONV, DEFAULTS
from tma_products import check_variant

from netspec.device.base import Device

SPREAD = {"filters": 4, "size": [3, 2], "stride": [2, 4], "dilation": [3, 2], "pad": [1, 2, 3, 1]}
PRODUCTS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], str]] = {
    "whole units, two tiles of rows, more stages than shared memory holds": (
        "conv", {"filters": 16, "size": 3, "pad": 1}, (2, 9, 8, 16), "64x64",
    ),
    "pairs, runs of whole rows": (
        "conv", {"filters": 6, "size": [3, 11], "stride": 4, "rounding": "ceil"}, (1, 8, 20, 3), "64x64",
    ),
    "single elements": ("conv", {"filters": 7, "size": 3, "pad": 1}, (2, 5, 5, 3), "64x64"),
    "dilation that a stride divides, and one that it does not": ("conv", SPREAD, (2, 9, 8, 4), "64x64"),
    "groups, dilated": ("conv", {**SPREAD, "groups": 2, "bias": False}, (1, 9, 8, 4), "64x64"),
    "two tiles of columns": ("conv", {"filters": 72, "size": [1, 2]}, (1, 3, 4, 136), "128x64"),
    "the largest tile": ("conv", {"filters": 40, "size": 2}, (2, 9, 9, 24), "128x128"),
    "units of no whole unit": ("dense", {"units": 10}, (5, 3, 4, 6), "64x64"),
    "groups of an image": ("dense", {"units": 12, "groups": 2}, (3, 1, 2, 8), "64x64"),
    "terms in chunks": ("dense", {"units": 24, "bias": False}, (5, 1000), "128x128_split"),
}  # fmt: skip
"""Layer, attributes, the input's shape, and the variant's name behind bf16_stored_."""


def check(device: Device, layer_type: str, attrs: dict[str, Any], shape: tuple[int, ...], tile: str) -> None:
    """A variant's results beside those of the plain CPU kernels of the same numbers."""
    defaults = CONV if layer_type == "conv" else DEFAULTS
    check_variant(device, layer_type, {**defaults, **attrs}, shape, f"bf16_stored_{tile}")
