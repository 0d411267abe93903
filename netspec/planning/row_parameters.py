"""Parameters and states of layers that are split by rows: every device holds all of them, one device updates each.

A parameter's gradients come to that device as soon as the others have theirs, are added in the order of the devices,
and the updated parameter goes back: 2 (k - 1) times its bytes for k devices. As many would move if each received the
sum and updated for itself, with k times the momentum and the solver's work. What follows the sum, the replicas' tree,
the finite check, norms and clipping, sees one gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netspec.contract.naming import Argument
from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Region

if TYPE_CHECKING:
    from netspec.planning.builder import Builder


class Copies:
    """Which device updates what several devices hold.

    Each tensor goes to the device that has the fewest bytes of those before it, as all transfers of one end there.
    """

    def __init__(self) -> None:
        self.of: dict[BufferKey, list[BufferKey]] = {}
        """The buffer on the device that updates a tensor -> those on all of its devices, in their order."""
        self.received: set[BufferKey] = set()
        """The buffers on the other devices."""
        self._load: dict[str, int] = {}

    def add(self, key: BufferKey, devices: tuple[str, ...], nbytes: int) -> None:
        """A device's buffer of a tensor that is on all of these devices."""
        if key in self.of or key in self.received:
            return
        device = min(devices, key=lambda one: self._load.get(one, 0))
        self._load[device] = self._load.get(device, 0) + nbytes
        self.of[replace(key, device=device)] = [replace(key, device=one) for one in devices]
        self.received.update(replace(key, device=one) for one in devices if one != device)


def brought(builder: Builder, owner: BufferKey, regions: Sequence[Region]) -> list[Region]:
    """What several devices found for a tensor, on the device that updates it."""
    return [_brought(builder, owner, region, number) for number, region in enumerate(regions)]


def _brought(builder: Builder, owner: BufferKey, region: Region, number: int) -> Region:
    sender, like = region.buffer.device, builder.buffers[owner]
    if sender == owner.device:
        return region
    key = replace(owner, role=region.buffer.role, index=number, shard=sender)
    target = builder.declare(key, like.shape, like.dtype)
    builder.copy(region, target, like.nbytes)
    builder.crossed(owner.of.layer or "", owner.of, sender, owner.device, "backward", like.nbytes)
    return target


def mean_state(builder: Builder, owner: BufferKey) -> BufferKey:
    """The next value of a state that several devices hold: the mean of what each found for its rows."""
    regions = [Region(builder.latest[key]) for key in builder.copies.of[owner]]
    like = builder.buffers[owner]
    key = replace(owner, role="next state", rows=(0, builder.network.batch))
    target = builder.declare(key, like.shape, like.dtype)
    sources = enumerate(brought(builder, owner, regions))
    args = {Argument("source", index=number): region for number, region in sources}
    written, share = Argument("target"), {"share": 1 / len(regions)}
    builder.step(StepKey("mean", key.device, target=key), {written: target, **args}, (written,), attrs=share)
    return key
