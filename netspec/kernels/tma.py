"""Intrinsics for Hopper's tensor memory accelerator (TMA): one thread copies a box of an array into shared memory.

A tensor map (netspec.contract.tensor_map) tells of array and box; it lies in global memory and is known by its address
(uint64). ``acquire(map)`` by each block, before its first use: a copy has written it.

- ``load_2d(target, map, barrier, x, y)``, ``load_3d(..., x, y, z)``, ``load_4d(..., x, y, z, w)``: the box from those
  elements on, innermost axis first;
- ``load_im2col(target, map, barrier, c, w, h, n, tap_w, tap_h)``: pixels of windows from the one on whose first tap is
  at (w, h) of image n, over rows and images, each at that tap, and channels from c on.

Target and mbarrier are addresses in shared memory (uint32); the box's bytes, those outside the array among them, which
are zeros, count on the barrier.
"""

from __future__ import annotations

from typing import Any

from netspec.kernels.scalar_instruction import scalar_instruction

_LOAD = (
    "cp.async.bulk.tensor.{axes}d.shared::cluster.global.{mode}mbarrier::complete_tx::bytes "
    "[$0], [$1, {{{coordinates}}}], [$2]{offsets};"
)


def _load(name: str, axes: int, offsets: int = 0) -> Any:
    """``offsets``: those of the tap, in im2col mode."""
    places = [f"${3 + number}" for number in range(axes + offsets)]
    behind = f", {{{', '.join(places[axes:])}}}" if offsets else ""
    mode = "im2col." if offsets else "tile."
    text = _LOAD.format(axes=axes, mode=mode, coordinates=", ".join(places[:axes]), offsets=behind)
    return scalar_instruction(name, text, "rlr" + "i" * axes + "h" * offsets)


load_2d, load_3d, load_4d = (_load(f"load_{axes}d", axes) for axes in (2, 3, 4))
load_im2col = _load("load_im2col", 4, 2)
acquire = scalar_instruction("acquire", "fence.proxy.tensormap::generic.acquire.gpu [$0], 128;", "l")
