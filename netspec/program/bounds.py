"""What people are told of the kernels chosen: bounds that a variant declares, choices that were measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netspec.contract.layer import Layer
from netspec.program.program import Program


def declared_bounds(programs: Iterable[Program]) -> tuple[str, ...]:
    """A line for each such variant in use: ``conv3, conv4: winograd kernels, with an error bound of 2e-5``."""
    found: dict[tuple[str, float], dict[str, None]] = {}
    for program in programs:
        types = {shard.layer: type(shard.instance) for shard in program.plan.shards}
        for step in program.steps:
            variant = str(step.attrs.get("variant"))
            if step.layer in types and variant in types[step.layer].bounds:
                found.setdefault((variant, types[step.layer].bounds[variant]), {})[step.layer] = None
    return tuple(
        f"{', '.join(layers)}: {variant} kernels, with an error bound of {bound:.0e}".replace("e-0", "e-")
        for (variant, bound), layers in found.items()
    )


def plain_products(programs: Sequence[Program]) -> tuple[str, ...]:
    """One line where a GPU multiplies by plain kernels, as those of tensor cores are not for such sizes.

    Layers of less than a hundredth of a program's operations are not worth one.
    """
    layers = dict.fromkeys(layer for program in programs for layer in _plain_layers(program))
    told = "with so many elements tensor cores are not used; take a smaller --batch"
    return (f"{', '.join(layers)}: plain kernels, many times slower: {told}",) if layers else ()


def _plain_layers(program: Program) -> Iterator[str]:
    types = {shard.layer: type(shard.instance) for shard in program.plan.shards}
    least = sum(step.flops for step in program.steps) / 100
    for step in program.steps:
        is_plain = step.attrs.get("variant") == "plain" and program.kinds[step.device] == "cuda"
        if is_plain and step.layer in types and _uses_tensor_cores(types[step.layer]) and step.flops >= least:
            yield str(step.layer)


def _uses_tensor_cores(cls: type[Layer]) -> bool:
    return any("cuda" in kernel.backends and kernel.variant in cls.bounds for kernel in cls.kernels)


def measured_choices(programs: Iterable[Program]) -> tuple[str, ...]:
    """One line where ``netspec tune`` decided otherwise than the layers' own order."""
    steps = [step for program in programs for step in program.steps if step.attrs.get("tuned")]
    layers = ", ".join(dict.fromkeys(str(step.layer) for step in steps))
    return (f"{layers}: kernels as measured by netspec tune",) if steps else ()
