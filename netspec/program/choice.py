"""Which variant of a layer's kernels a step runs: the measured one where there is a table, else the preferred one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import cast

from netspec.contract.kernel import Backend, Direction, Kernel
from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.contract.variant import Capability
from netspec.errors import NetspecError
from netspec.planning.plan import Step

Measured = Mapping[str, str]
"""What ``netspec tune`` found on a device: question (see ``question``) -> variant."""
_WORDS = {"cpu": "CPU", "cuda": "CUDA"}


def candidates(
    layer: Layer,
    t: Tensors,
    kind: Backend,
    direction: Direction,
    without: Collection[str] = (),
    capability: Capability | None = None,
) -> tuple[str, ...]:
    """Variants that can run this direction of the layer, the preferred one first; those of the same kernels once.

    ``capability`` is the device's; None: what needs a certain one is left out.
    """
    found: dict[tuple[Kernel, ...], str] = {}
    for variant in layer.rank(t, direction, layer.variant_names(kind), capability):
        off = _is_off(variant, without) or layer.needs.get(variant, capability) != capability
        if variant == "plain" or (not off and layer.supports(t, variant)):
            found.setdefault(layer.passes(kind, direction, variant), variant)
    return tuple(variant for passes, variant in found.items() if passes)


def _is_off(variant: str, without: Collection[str]) -> bool:
    return any(variant == name or variant.startswith(f"{name}_") for name in without)


def question(layer: Layer, t: Tensors, direction: Direction, among: Collection[str]) -> str:
    """What a measurement answers, as text: layer type, direction, phase, attributes, shapes and the candidates.

    Another set of candidates (a new kernel, another precision) is another question: old answers then do not apply.
    """
    attrs = {name: value for name, value in sorted(vars(layer.attrs).items()) if not isinstance(value, Mapping)}
    tensors = {name: value for name, value in sorted(vars(t).items()) if isinstance(value, Tensor)}
    shapes = " ".join(f"{name}:{tensor.dtype}{list(tensor.shape)}" for name, tensor in tensors.items())
    return f"{layer.type}.{direction} {layer.phase} {json.dumps(attrs)} {shapes} among {', '.join(among)}"


def choose(
    step: Step,
    layer: Layer,
    t: Tensors,
    kind: Backend,
    without: Collection[str],
    measured: Measured,
    capability: Capability | None = None,
) -> tuple[str, bool]:
    """The variant for a step, and whether it was measured and found better than the preferred one.

    ``without`` names variants that are switched off; "tf32" stands for "tf32_64x64" too. Raises NetspecError where the
    layer has no kernel for the device's kind.
    """
    direction = cast(Direction, step.op)
    able = candidates(layer, t, kind, direction, without, capability)
    if not able:
        raise NetspecError(
            f"{step.layer}: layer type '{layer.type}' has no {_WORDS[kind]} kernel for its {step.op} pass, "
            f"and '{step.device}' is bound to a {_WORDS[kind]} device (bind it to another kind with --devices)"
        )
    found = measured.get(question(layer, t, direction, able)) if measured and len(able) > 1 else None
    return (found, True) if found in able[1:] else (able[0], False)
