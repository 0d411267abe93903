"""What stands for a device where passes are looked at and nothing runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from netspec.contract.kernel import Backend
from netspec.device.base import Device


def on_paper(backend: Backend) -> Device:
    """A device of a kind that need not be there."""
    return cast(Device, SimpleNamespace(kind=backend, team_size=1, capability=None))
