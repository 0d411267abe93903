"""Parameters and states of layers that are split by rows: every device holds all of them, one device updates each.

A parameter's gradients come to that device when each other one has its own, are added there in the order of the devices,
and the updated parameter goes back: 2 (k - 1) times its bytes for k devices, as many as if each of them received the sum
and updated for itself, which would take k times the momentum and the solver's work. What follows the sum, the finite
check, norms, clipping, averages over replicas, sees one gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from netspec.planning.identities import BufferKey


class Copies:
    """Which device updates what several devices hold.

    Each tensor goes to the device that has the fewest bytes of those before it, as all transfers of one end there.
    """

    def __init__(self) -> None:
        self.owner: dict[BufferKey, BufferKey] = {}
        """The buffer on each device -> that of the device which updates it."""
        self._load: dict[str, int] = {}

    def add(self, key: BufferKey, devices: tuple[str, ...], nbytes: int) -> None:
        """A device's buffer of a tensor that is on all of these devices."""
        if key in self.owner:
            return
        device = min(devices, key=lambda one: self._load.get(one, 0))
        self._load[device] = self._load.get(device, 0) + nbytes
        self.owner |= {replace(key, device=one): replace(key, device=device) for one in devices}

    def owners(self, keys: Iterable[BufferKey]) -> list[BufferKey]:
        """The buffers among these that others receive."""
        return [key for key in keys if self.owner.get(key) == key]

    def of(self, owner: BufferKey) -> list[BufferKey]:
        """The buffers of a tensor on its devices, in their order; itself alone where no other has it."""
        return [key for key, one in self.owner.items() if one == owner] or [owner]

    def is_received(self, key: BufferKey) -> bool:
        """Whether another device updates the tensor."""
        return self.owner.get(key, key) != key
