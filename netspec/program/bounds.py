"""Variants of kernels that declare an error bound of their own are named when they are bound."""

from __future__ import annotations

from collections.abc import Iterable

from netspec.program.model import Program
from netspec.registry import layer_types


def declared_bounds(programs: Iterable[Program]) -> tuple[str, ...]:
    """A line for each such variant in use: ``conv3, conv4: winograd kernels, with an error bound of 2e-5``."""
    found: dict[tuple[str, float], dict[str, None]] = {}
    for program in programs:
        types = {shard.layer: layer_types()[shard.type] for shard in program.plan.shards}
        for step in program.steps:
            variant = str(step.attrs.get("variant"))
            if step.layer in types and variant in types[step.layer].bounds:
                found.setdefault((variant, types[step.layer].bounds[variant]), {})[step.layer] = None
    return tuple(
        f"{', '.join(layers)}: {variant} kernels, with an error bound of {bound:.0e}".replace("e-0", "e-")
        for (variant, bound), layers in found.items()
    )
