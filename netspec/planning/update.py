"""The end of a training iteration: gradients checked, all devices agree, parameters and state committed."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from netspec.planning.backward import Backward
from netspec.planning.builder import Builder, averages
from netspec.planning.identities import BufferKey, StepKey, of_device
from netspec.planning.plan import Buffer, Region
from netspec.planning.shards import Shard


class Update:
    """Appends the finite checks, the exchange of their flags and one update a parameter.

    Each device has all devices' verdicts, 1 for a finite iteration, and a flag for each of its updates, 1 where that
    gave numbers that are not finite.
    """

    def __init__(self, builder: Builder, backward: Backward) -> None:
        self.builder, self.backward = builder, backward
        self.shards = [shard for shards in builder.network.shards for shard in shards]
        self.devices = builder.network.spec.devices
        self.places: dict[BufferKey, int] = {}
        """A parameter's place among the gradients that its device checks."""

    def run(self) -> None:
        """All steps from the last gradient to the end of the iteration."""
        gradients = self._gradients()
        checks: dict[str, list[Region]] = {device: [] for device in self.devices}
        for key, region in gradients.items():
            self.places[key] = len(checks[key.device])
            checks[key.device].append(region)
        for state, following in self.builder.latest.items():
            if self.builder.buffers[state].dtype == "float32":
                checks[state.device].append(Region(following))
        for shard in self.shards:
            if "report" in shard.outputs:
                checks[shard.device].append(Region(shard.outputs["report"].key))
        judges = tuple(device for device in self.devices if checks[device])
        for device in self._informed(judges):
            self.builder.declare(_verdict(device), (len(judges),), "int32")
        for device in judges:
            self._check(device, judges, checks[device])
        self._exchange(judges, self._informed(judges))
        self._commit(gradients)

    def _gradients(self) -> dict[BufferKey, Region]:
        parameters = dict.fromkeys(key for shard in self.shards for key in shard.params.values())
        found = {key: self.backward.parameter_gradient(key) for key in parameters}
        return {key: region for key, region in found.items() if region is not None}

    def _check(self, device: str, judges: tuple[str, ...], regions: list[Region]) -> None:
        """Each gradient sets a flag of its own; the device's verdict is 1 where all are finite."""
        flags = self.builder.declare(of_device("flags", "flag", device), (len(regions),), "int32")
        for number, region in enumerate(regions):
            args = {"source": region, "flag": Region(flags.buffer, 0, number, number + 1)}
            self.builder.operation(StepKey("finite", device, target=region.buffer), "flag", args)
        place = judges.index(device)
        verdict = Region(_verdict(device), 0, place, place + 1)
        overflow = self.builder.declare(_overflow(device), (len(regions),), "int32")
        args = {"flags": flags, "verdict": verdict, "overflow": overflow}
        self.builder.operation(StepKey("agree", device), ("verdict", "overflow"), args)

    def _informed(self, judges: tuple[str, ...]) -> tuple[str, ...]:
        """Devices that judge, hold parameters or hold state."""
        holders = {shard.device for shard in self.shards if shard.params}
        return tuple(device for device in self.devices if device in judges or device in holders)

    def _exchange(self, judges: tuple[str, ...], informed: tuple[str, ...]) -> None:
        """Every device that has a say or commits comes to know every device's verdict."""
        for target in informed:
            for place, source in enumerate(judges):
                if source != target:
                    ours, theirs = (Region(_verdict(device), 0, place, place + 1) for device in (target, source))
                    self.builder.copy(theirs, ours, 4, place)

    def _commit(self, gradients: dict[BufferKey, Region]) -> None:
        done: set[BufferKey] = set()
        for shard in self.shards:
            for name, key in shard.params.items():
                if key not in done:
                    done.add(key)
                    self._commit_one(shard, name, key, gradients.get(key))

    def _commit_one(self, shard: Shard, name: str, key: BufferKey, gradient: Region | None) -> None:
        finite = Region(_verdict(shard.device))
        following = self.builder.latest.get(key)
        if following is not None:
            args = {"state": Region(key), "following": Region(following), "finite": finite}
            self.builder.operation(StepKey("commit", shard.device, shard.spec.name, target=key), "state", args)
        elif gradient is not None:
            self._sgd(shard, name, key, gradient, finite)

    def _sgd(self, shard: Shard, name: str, key: BufferKey, gradient: Region, finite: Region) -> None:
        param = self.builder.buffers[key]
        assert param.logical is not None
        logical = replace(param.logical, key=replace(param.logical.key, slot="momentum"))
        self.builder.initial.setdefault(logical.key, {"type": "constant", "value": 0.0})
        beside = BufferKey(replace(key.of, slot="momentum"), "momentum", shard.device)
        args = {
            "param": Region(key),
            "momentum": self.builder.declare(beside, param.shape, param.dtype, logical),
            "gradient": gradient,
            "rates": self.builder.rates.row(key.of, shard.device),
            "finite": finite,
            "overflow": Region(_overflow(shard.device), 0, self.places[key], self.places[key] + 1),
        }
        factors = shard.spec.multiplier_of(name)
        self.builder.operation(
            StepKey("update", shard.device, shard.spec.name, target=key),
            ("param", "momentum", "overflow"),
            args,
            attrs={"rate": factors.rate, "decay": factors.decay},
            flops=6 * prod(param.shape),
        )
        if self.builder.rates.averaged:
            self._average(shard, key, param, finite)

    def _average(self, shard: Shard, key: BufferKey, param: Buffer, finite: Region) -> None:
        """The average goes towards the parameter as it is after the update."""
        assert param.logical is not None
        beside, logical = averages(key, param.logical)
        self.builder.initial.setdefault(logical.key, self.builder.initial[param.logical.key])
        args = {
            "average": self.builder.declare(beside, param.shape, param.dtype, logical),
            "param": Region(key),
            "share": self.builder.rates.share(shard.device),
            "finite": finite,
        }
        step = StepKey("average", shard.device, shard.spec.name, target=key)
        self.builder.operation(step, "average", args, flops=3 * prod(param.shape))


def _verdict(device: str) -> BufferKey:
    return of_device("finite", "verdict", device)


def _overflow(device: str) -> BufferKey:
    return of_device("overflow", "overflow", device)
