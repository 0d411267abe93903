"""Shadow weights: parameters that are factors of products, as those read them where activations are bfloat16.

A shadow is made of the parameter, its master, which alone is trained, checked and kept in checkpoints (Micikevicius et
al. 2018, section 3.1).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Region
from netspec.planning.shards import Shard

if TYPE_CHECKING:
    from netspec.planning.builder import Builder


class Shadows:
    """The shadows of a plan, each made by a step before the first one that reads it."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._made: dict[BufferKey, Region] = {}

    def read(self, shard: Shard, name: str) -> Region:
        """Where a layer reads a parameter: in its shadow, if the layer says so of the tensor, or in itself."""
        key = shard.params[name]
        if not self.is_read(shard, name):
            return Region(key)
        if key not in self._made:
            self._made[key] = self._make(shard, name, key)
        return self._made[key]

    def is_read(self, shard: Shard, name: str) -> bool:
        """Whether a layer reads the shadow of a parameter."""
        master = self.builder.buffers[shard.params[name]]
        return shard.t.roles[name] == "parameter" and shard.t[name].dtype != master.dtype

    def compute(self, shard: Shard) -> str:
        """The precision of the factors of a layer's products: that of its shadows."""
        read = (shard.t[name].dtype for name in shard.t.names("parameter") if self.is_read(shard, name))
        return next(read, "float32")

    def _make(self, shard: Shard, name: str, key: BufferKey) -> Region:
        tensor, shadow = shard.t[name], replace(key, role="shadow")
        target = self.builder.declare(shadow, tensor.shape, tensor.dtype)
        step = StepKey("shadow", shard.device, target=shadow)
        self.builder.operation(step, "target", {"source": Region(key), "target": target})
        return target
