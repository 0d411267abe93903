"""What conv, local and dense have in common: attributes, groups of channels and initial biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.plugin import LayerError, boolean, channels, choice, initialiser, integer, number, padding, pair

GROUPS = integer("Channels and filters are cut in as many parts.", default=None, minimum=1)
INIT = initialiser("How the weights start.", default={"type": "gaussian", "std": 0.01})
BIAS_INIT = number("Where the biases start.", default=0.0)
WINDOWS = {
    "filters": channels("Kernels, and so channels of the output; classes: as many as the data has."),
    "size": pair("Height and width of the kernels.", minimum=1),
    "stride": pair("Pixels between neighbouring windows.", default=1, minimum=1),
    "pad": padding("Zeros round the image."),
    "groups": GROUPS,
    "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
    "bias": boolean("Whether each filter adds a bias.", default=True),
    "init": INIT,
    "bias_init": BIAS_INIT,
}
"""The attributes of filters over windows of an image."""


def image_groups(channels: int, outputs: int, groups: int, what: str) -> int:
    """Input channels of one group. Raises LayerError where groups does not divide channels and outputs."""
    for count, name in ((channels, "input channels"), (outputs, what)):
        if count % groups:
            raise LayerError(
                f"{count} {name} cannot be divided into {groups} groups", f"make {name} a multiple of groups", "groups"
            )
    return channels // groups


def initial_bias(attrs: Any) -> Mapping[str, Any]:
    """The initialiser of a bias."""
    return {"type": "constant", "value": attrs.bias_init}
