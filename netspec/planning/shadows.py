"""Shadow weights: parameters that are factors of products, as those read them where activations are bfloat16.

A shadow is made of the parameter, its master, which alone is trained, checked and kept in checkpoints (Micikevicius et
al. 2018, section 3.1). A step makes it before the first one that reads it, and updates renew it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Region
from netspec.planning.shards import Shard

if TYPE_CHECKING:
    from netspec.planning.builder import Builder


def shadow_of(key: BufferKey) -> BufferKey:
    """What the shadow of a parameter is called, if it has one: then a plan has such a buffer."""
    return replace(key, role="shadow")


def read(builder: Builder, shard: Shard, name: str) -> Region:
    """Where a layer reads a parameter or a state: in its shadow, if the layer takes bfloat16, or in itself."""
    key = shard.params[name]
    if not _is_narrow(shard, name):
        return Region(key)
    shadow, tensor = shadow_of(key), shard.t[name]
    if shadow not in builder.buffers:
        target = builder.declare(shadow, tensor.shape, tensor.dtype)
        args = {"source": Region(key), "target": target}
        builder.operation(StepKey("shadow", shard.device, target=shadow), "target", args)
    return Region(shadow)


def compute(shard: Shard) -> str:
    """The precision of the factors of a layer's products: that of its shadows."""
    return "bfloat16" if any(_is_narrow(shard, name) for name in shard.params) else "float32"


def _is_narrow(shard: Shard, name: str) -> bool:
    return shard.t.roles[name] == "parameter" and shard.t[name].dtype == "bfloat16"
