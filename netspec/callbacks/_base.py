"""What a callback is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from netspec.contract.attrs import Attr, filled
from netspec.events import Event


class Callback(ABC):
    """Hears the events of a run (netspec.events), one after the other, on a thread of its own, and changes nothing.

    ``--log NAME`` names it, with ``{type: NAME, ...}`` its settings too: never a spec, since a run does not depend on
    it. An event of a kind that it does not know is to be passed over, as later versions have more. It ends the run by
    raising NetspecError; where it raises anything else a note says so, and it hears no more.
    """

    attrs: ClassVar[Mapping[str, Attr]] = {}
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Settings that the contract suite tries."""

    type: ClassVar[str]

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, {name: value for name, value in settings.items() if name != "type"})

    def check(self) -> None:
        """Raise NetspecError where what it needs is not there; called before anything is opened."""
        return

    def begin(self, folder: Path, iteration: int) -> None:
        """The run's directory is there, and ``iteration`` are done: what was written beyond those is void.

        May write below the folder. Raises NetspecError where it cannot begin; nothing is trained then.
        """
        return

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Hear of an event."""

    def close(self) -> None:
        """All has been told, or ``begin`` or an event failed."""
        return
