"""What the processes of a run decide alike: whether to stop, whether a checkpoint is due, whether all hold the same."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from netspec.contract.kernel import Phase
from netspec.errors import NetspecError
from netspec.planning.rates import Rates
from netspec.rundir.differences import changes
from netspec.runners.training.evaluation import Told, own
from netspec.runners.training.nonfinite import Explain
from netspec.runners.training.prefetch import Arrays
from netspec.runners.training.resume import shown
from netspec.runners.training.signals import Interrupts
from netspec.runners.transport.base import Transport, named
from netspec.runners.transport.crew import Crew
from netspec.store import Store


class Agreement:
    """Asks all processes once an iteration, and once an evaluated batch; one process answers for itself at once."""

    def __init__(self, crew: Crew, interrupts: Interrupts, answering: int = 0) -> None:
        """``answering``: which of a group's ranks has the network's answers, of which metrics are made."""
        self._crew, self._transport, self._answering = crew, crew.world, answering
        self._interrupts, self._alone = interrupts, crew.world.size == 1
        self._code = 0

    @property
    def exit_code(self) -> int:
        """That of the signal which ends the run, whichever process has got it; 0 where there was none."""
        return self._interrupts.exit_code if self._alone else self._code

    def stop(self) -> bool:
        """Whether a signal ends the run."""
        return bool(self._interrupts) if self._alone else bool(self._code)

    def due(self, due: bool) -> bool:
        """Whether a checkpoint is due, by rank 0's clock; asked at the end of each iteration."""
        if self._alone:
            return due
        is_due = due and self._transport.rank == 0
        self._code, found = self._transport.greatest([max(self._code, self._interrupts.exit_code), is_due])
        return bool(found)

    def merged(self, told: Told | None) -> list[Told]:
        """What all processes tell of a batch that each of them has evaluated, in the order of the batches."""
        if self._alone:
            return own(told)
        found = self._transport.gather((told, self._interrupts.exit_code))
        self._code = max(self._code, *(code for _, code in found))
        each = found[self._answering :: self._crew.within.size]  # but for metrics a group's ranks tell alike
        return [one for one, _ in each if one is not None]

    def explain(self, replayed: Explain) -> Explain:
        """Looks into an iteration that all found not finite, each group of processes into its own replicas."""

        def explained(arrays: Arrays, iteration: int, valid: int, rates: Rates, phase: Phase) -> str:
            own = replayed(arrays, iteration, valid, rates, phase)
            across = self._crew.across
            if across.size == 1 or phase != "train":
                return own
            found, is_named = enumerate(across.gather(own)), self._crew.within.size > 1
            told = (each if is_named else f"on {named(across, rank)} {each}" for rank, each in found if each)
            return next(told, "")

        return explained

    def check_same(self, store: Store) -> None:
        """Raise NetspecError, in all groups of processes, where one holds other tensors than the first."""
        across = self._crew.across
        if across.size == 1:
            return
        sums: Mapping[str, int] = {str(key): zlib.crc32(array.data) for key, array in store.parts().items()}
        found = across.gather(sums)
        for rank, theirs in enumerate(found):
            differing = [name for name in found[0] if theirs.get(name) != found[0][name]]
            if differing:
                more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
                what = f"{', '.join(differing[:3])}{more}"
                raise NetspecError(
                    f"{named(across, rank)} has other numbers than {named(across, 0)} in {what}: "
                    "its processor, memory or software computes otherwise"
                )


def compared(transport: Transport, images: Mapping[str, Any], code: Mapping[str, str]) -> list[str]:
    """Lines for people on the processes of a run, of which some may compute by other machine code than rank 0.

    Raises NetspecError, in all of them, where one has other ``images``.
    """
    found, told = transport.gather((dict(images), dict(code))), []
    for rank, (others, other_code) in enumerate(found):
        if others != found[0][0]:
            raise NetspecError(f"{named(transport, rank)} has other images than {named(transport, 0)}")
        differs = "; ".join(shown(changes(found[0][1], other_code)))
        told += [f"{named(transport, rank)} has other machine code than rank 0: {differs}"] if differs else []
    return [*told, f"{transport.size} processes on {', '.join(dict.fromkeys(transport.hosts))}"]
