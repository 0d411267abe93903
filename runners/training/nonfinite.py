"""What ends a run, or an evaluation, whose numbers are not finite: what is told, and what people can do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from netspec.contract.kernel import Phase
from netspec.errors import NetspecError
from netspec.planning.rates import Rates
from netspec.runners.training.prefetch import Arrays
from netspec.runners.training.tally import Reports, Tally
from netspec.units import many

Explain = Callable[[Arrays, int, int, Rates, Phase], str]
"""Looks into an iteration on these arrays and says in a clause where its numbers ceased to be finite, see
netspec.runners.execution.replay."""

_SHOWN = 3
"""How many names a message gives."""


class NotFinite(NetspecError):
    """Numbers are not finite where a run or an evaluation needs them: it ends, and nothing is saved."""


def are_finite(reports: Reports) -> bool:
    """Whether all sums of a batch are finite."""
    return all(math.isfinite(value) for sums in reports.values() for value in sums.values())


def check_reports(reports: Reports, more: str) -> None:
    """Raise NotFinite where a batch of an evaluation has a sum that is not finite; ``more`` says where it began."""
    if not are_finite(reports):
        raise NotFinite(_joined(f"the loss of an evaluated batch is {Tally(reports).loss}", more))


def step(place: str, loss: float, rates: Rates, more: str) -> NotFinite:
    """For an iteration with a loss, a gradient or a state that is not finite."""
    what = "a gradient or a state is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    return NotFinite(f"{_joined(f'{place}: {what}', more, 'the step changed nothing')}. {_tries(rates)}")


def update(place: str, names: Sequence[str], rates: Rates) -> NotFinite:
    """For an update that gave numbers which are not finite, of gradients that were."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    what = f"the update made {', '.join(names[:_SHOWN])}{more} infinite or NaN, of gradients that were finite"
    return NotFinite(f"{place}: {what}. {_tries(rates)}")


def evaluation(place: str, error: NotFinite, rates: Rates) -> NotFinite:
    """For an evaluation within a run."""
    return NotFinite(f"evaluation after {place}: {error}. {_tries(rates)}")


def none_readable(images: int, broken: Sequence[tuple[str, str]]) -> NetspecError:
    """For a split of which no image can be read."""
    examples = "".join(f"\n  {name}: {reason}" for name, reason in broken[:_SHOWN])
    return NetspecError(f"none of the {many(images, 'image')} to evaluate can be read{examples}")


def _tries(rates: Rates) -> str:
    return (
        f"Try a lower rate (it was {rates.learning_rate:g}; --lr ...), smaller initial "
        "weights, or look at the data"
    )


def _joined(*clauses: str) -> str:
    return "; ".join(clause for clause in clauses if clause)
