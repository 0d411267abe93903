"""Which parameters are trained, and the solver's numbers that an iteration is given for them.

They lie in one buffer a device: a row of the learning rate and the solver's other numbers (of SGD momentum and weight
decay) for the network; such a row for each parameter whose rate the schedule may set apart; last, where parameters are
averaged, the share that averages take on, and with replicas the share of the batch that the present one has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netspec.planning.identities import TensorKey, of_device
from netspec.planning.network import Network
from netspec.planning.plan import Region
from netspec.planning.shards import Shard
from netspec.schedules import Factors, make_schedule
from netspec.solvers import solver_types
from netspec.spec.patterns import last_match, matches
from netspec.spec.types import TrainSpec


class Rates(NamedTuple):
    """The solver's numbers for one iteration.

    ``numbers`` are those beside the learning rate, see ``Solver.numeric``: of SGD momentum and weight decay.
    ``factors`` are the schedule's for single parameters. ``average`` is the share of its distance to the parameter
    that an average goes: 1 - decay.
    """

    learning_rate: float
    numbers: tuple[float, ...]
    factors: Factors = ()
    average: float = 0.0


def trainable(train: TrainSpec, shard: Shard, name: str) -> bool:
    """Whether a parameter is updated: its rate is not switched off and it is not frozen."""
    owner = shard.owner or shard.spec
    if shard.t.roles[name] != "parameter" or owner.multiplier_of(name).rate == 0:
        return False
    return not any(matches(pattern, owner.name, name) for pattern in train.freeze)


class RateTable:
    """The layout of the buffer."""

    def __init__(self, rated: Sequence[TensorKey], averaged: bool, numbers: int, replicated: bool = False) -> None:
        self.rated, self.averaged, self.width = tuple(rated), averaged, 1 + numbers
        self._ends = self.width * (1 + len(self.rated)) + averaged
        self.size = self._ends + replicated

    def row(self, key: TensorKey, device: str) -> Region:
        """The row that holds for a parameter."""
        start = self.width * (1 + self.rated.index(key)) if key in self.rated else 0
        return Region(of_device("rates", "scalar", device), 0, start, start + self.width)

    def share(self, device: str) -> Region:
        """What averages take on."""
        return Region(of_device("rates", "scalar", device), 0, self._ends - 1, self._ends)

    def of_batch(self, device: str) -> Region:
        """The share of the batch that the present replica has."""
        return Region(of_device("rates", "scalar", device), 0, self._ends, self._ends + 1)

    def values(self, rates: Rates) -> list[float]:
        """What the buffer holds in an iteration, without a replica's share.

        Raises ValueError for another count of numbers.
        """
        if 1 + len(rates.numbers) != self.width:
            raise ValueError(f"the solver has {self.width - 1} numbers beside the learning rate, not {rates.numbers}")
        found: list[float] = [rates.learning_rate, *rates.numbers]
        for key in self.rated:
            factor = last_match(rates.factors, key.layer or "", key.tensor)
            rate = rates.learning_rate * (1.0 if factor is None else factor)
            found += [rate, *rates.numbers]
        return found + [rates.average] * self.averaged


def rate_table(network: Network) -> RateTable:
    """The layout for the parameters that a network is trained in."""
    train = network.spec.train
    patterns = [pattern for _, pattern in make_schedule(train.schedule).patterns()]
    rated = {
        TensorKey(name, layer=shard.spec.name): None
        for shards in network.shards
        for shard in shards
        for name in shard.t.names("parameter")
        if shard.spec.share is None and any(matches(pattern, shard.spec.name, name) for pattern in patterns)
    }
    return rate_layout(train, tuple(rated), network.replicas > 1)


def rate_layout(train: TrainSpec, rated: Sequence[TensorKey], replicated: bool = False) -> RateTable:
    """The layout for a network whose ``rated`` parameters are known."""
    numbers = len(solver_types()[train.solver["type"]].numeric)
    return RateTable(rated, train.ema is not None, numbers, replicated)
