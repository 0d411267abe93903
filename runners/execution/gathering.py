"""Logical tensors whose parts lie in several ranks, made whole on the first: for checkpoints, which know no ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.device.dtypes import numpy_dtype
from netspec.planning.identities import BufferKey
from netspec.runners.execution.session import Session
from netspec.store.write_gate import Gate

Host = np.ndarray[Any, Any]


def gathered(session: Session) -> dict[BufferKey, Host]:
    """On the first rank of a group the parts that lie in its others, which send them; they all call this at once."""
    crew, found = session.crew, dict[BufferKey, Host]()
    for buffer in session.store.parted() if crew.within.size > 1 else ():
        owner = session.ranks[buffer.device]
        if owner == crew.place and owner:
            crew.within.send(session.store.part(buffer.key), 0)
        elif owner and not crew.place:
            found[buffer.key] = np.empty(buffer.shape, numpy_dtype(buffer.dtype))
            crew.within.receive(found[buffer.key], owner)
    return found


class WholeCopies:
    """What a Saver needs of a Store, of a Session whose ranks give their parts when a copy begins."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.gate: Gate = session.store.gate

    def begin_copy(self) -> Callable[[], dict[str, Host]]:
        """See netspec.store."""
        return self._session.store.begin_copy(gathered(self._session))
