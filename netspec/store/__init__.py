"""The Store: parameters, momentum, state and constants on their devices, as whole tensors to the outside."""

from netspec.store.store import Store, answered

__all__ = ["Store", "answered"]
