"""The end of a training iteration: gradients checked, all devices agree, parameters and state committed."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from netspec.contract.solver import SCALES, SHADOW
from netspec.contract.tensor import Shape
from netspec.planning.backward import Backward
from netspec.planning.builder import Builder, averages
from netspec.planning.identities import BufferKey, StepKey, of_device
from netspec.planning.norms import Norms
from netspec.planning.plan import Logical, Region
from netspec.planning.row_parameters import mean_state
from netspec.planning.shadows import shadow_of
from netspec.planning.shards import Shard
from netspec.solvers import solver_types


class Update:
    """Appends the finite checks, the exchange of their flags, norms where they are asked for, one update a parameter.

    Each device has all devices' verdicts, 1 for a finite iteration, and a flag for each of its updates, 1 where that
    gave numbers that are not finite.
    """

    def __init__(self, builder: Builder, backward: Backward) -> None:
        self.builder, self.backward = builder, backward
        self.shards = [shard for shards in builder.network.shards for shard in shards]
        self.devices = builder.network.spec.devices
        self.name = builder.network.spec.train.solver["type"]
        self.solver = solver_types()[self.name]
        self.places: dict[BufferKey, int] = {}
        """A parameter's place among the gradients that its device checks."""

    def run(self) -> None:
        """All steps from the last gradient to the end of the iteration."""
        gradients = self._gradients()
        self.latest = self._next_states()
        nexts = [Region(following) for following in self.latest.values()]
        left = [region for key, region in gradients.items() if key not in self.backward.added]
        self.backward.tree.finish([*left, *nexts], self._reports())
        self.norms = Norms(self.builder, gradients.values(), self.solver.norms)
        checks: dict[str, list[Region]] = {device: [] for device in self.devices}
        for key, region in gradients.items():
            self.places[key] = len(checks[key.device])
            checks[key.device].append(region)
        for state, following in self.latest.items():
            if self.builder.buffers[state].dtype == "float32":
                checks[state.device].append(Region(following))
        for report in self._reports():
            checks[report.buffer.device].append(report)
        judges = tuple(device for device in self.devices if checks[device])
        for device in self._informed(judges):
            self.builder.declare(_verdict(device), (len(judges),), "int32")
        for device in judges:
            self._check(device, judges, checks[device])
        self._exchange(judges, self._informed(judges))
        self.factors = self.norms.clip()
        self.squares = self.norms.of_parameters(gradients) if "w_norm" in self.solver.norms else {}
        self._commit(gradients)

    def _next_states(self) -> dict[BufferKey, BufferKey]:
        """State -> its next value; of what several devices hold, on the one that updates it."""
        copies = self.builder.copies
        return {
            state: mean_state(self.builder, state) if state in copies.of else following
            for state, following in self.builder.latest.items()
            if state not in copies.received
        }

    def _gradients(self) -> dict[BufferKey, Region]:
        parameters = dict.fromkeys(key for shard in self.shards for key in shard.params.values())
        received = self.builder.copies.received
        found = {key: self.backward.parameter_gradient(key) for key in parameters if key not in received}
        return {key: region for key, region in found.items() if region is not None}

    def _reports(self) -> list[Region]:
        return [Region(shard.outputs["report"].key) for shard in self.shards if "report" in shard.outputs]

    def _check(self, device: str, judges: tuple[str, ...], regions: list[Region]) -> None:
        """Each gradient sets a flag of its own; the device's verdict is 1 where all are finite."""
        flags = self.builder.declare(of_device("flags", "flag", device), (len(regions),), "int32")
        for number, region in enumerate(regions):
            args = {"source": region, "flag": Region(flags.buffer, 0, number, number + 1)}
            partials = self.norms.partials.get(region.buffer)
            if partials is None:
                self.builder.operation(StepKey("finite", device, target=region.buffer), "flag", args)
            else:
                key, args = StepKey("squares", device, target=region.buffer), {**args, "partials": partials}
                self.builder.operation(key, ("partials", "flag"), args, accumulate="float64")
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
        done: dict[BufferKey, None] = {}
        for shard in self.shards:
            for name, key in shard.params.items():
                if key not in done and key not in self.builder.copies.received:
                    done[key] = None
                    self._commit_one(shard, name, key, gradients.get(key))
        for owner in done:
            if owner in self.builder.copies.of and (owner in gradients or owner in self.latest):
                self._send(owner)

    def _send(self, owner: BufferKey) -> None:
        """Bring what one device has updated to the others that hold it, and average it there too."""
        for key in [key for key in self.builder.copies.of[owner] if key != owner]:
            for source, target in ((owner, key), (shadow_of(owner), shadow_of(key))):
                if source in self.builder.buffers:
                    nbytes = self.builder.buffers[source].nbytes
                    self.builder.copy(Region(source), Region(target), nbytes)
                    self.builder.crossed(owner.of.layer or "", owner.of, owner.device, key.device, "update", nbytes)
            if key.role == "parameter" and self.builder.rates.averaged:
                self._average(key)

    def _commit_one(self, shard: Shard, name: str, key: BufferKey, gradient: Region | None) -> None:
        finite = Region(_verdict(shard.device))
        following = self.latest.get(key)
        if following is not None:
            args = {"state": Region(key), "following": Region(following), "finite": finite}
            self.builder.operation(StepKey("commit", shard.device, shard.spec.name, target=key), "state", args)
        elif gradient is not None:
            self._solve(shard, name, key, gradient, finite)

    def _solve(self, shard: Shard, name: str, key: BufferKey, gradient: Region, finite: Region) -> None:
        """The scales of a parameter, where the solver has some, and its update."""
        param, factors = self.builder.buffers[key], shard.spec.multiplier_of(name)
        assert param.logical is not None
        attrs = {"solver": self.name, "rate": factors.rate, "decay": factors.decay}
        both = {"rates": self.builder.rates.row(key.of, shard.device), "finite": finite}
        if shard.device in self.factors:
            both["clip"] = self.factors[shard.device]
        scales = self._scale(shard, key, gradient, both, attrs)
        args = {
            "param": Region(key),
            **{slot: self._beside(key, slot, param.shape, param.logical) for slot in self.solver.state},
            "gradient": gradient,
            **both,
            **({} if scales is None else {"scales": scales}),
            "overflow": Region(_overflow(shard.device), 0, self.places[key], self.places[key] + 1),
        }
        step, writes = StepKey("update", shard.device, shard.spec.name, target=key), ["param", *self.solver.state]
        if (shadow := shadow_of(key)) in self.builder.buffers:
            args[SHADOW] = Region(shadow)
            writes.append(SHADOW)
        flops = self.solver.flops * prod(param.shape)
        self.builder.operation(step, (*writes, "overflow"), args, attrs=attrs, flops=flops)
        if self.builder.rates.averaged:
            self._average(key)

    def _scale(
        self, shard: Shard, key: BufferKey, gradient: Region, both: dict[str, Region], attrs: dict[str, Any]
    ) -> Region | None:
        """The step that gives the parameter's scales their next values; where they lie."""
        logical, count = self.builder.buffers[key].logical, len(self.solver.scales)
        if not count or logical is None:
            return None
        scales = self._beside(key, SCALES, (1, count), _of_part(logical, count))
        norms = {"param_squares": self.squares.get(key), "gradient_squares": self.norms.partials.get(gradient.buffer)}
        shown = both if "g_norm" in self.solver.norms else {name: both[name] for name in ("rates", "finite")}
        args = {"scales": scales, **shown, **{name: region for name, region in norms.items() if region is not None}}
        self.builder.operation(
            StepKey("scale", shard.device, shard.spec.name, target=key), "scales", args, attrs=attrs
        )
        return scales

    def _beside(self, key: BufferKey, slot: str, shape: Shape, logical: Logical) -> Region:
        """What the solver keeps beside a parameter, cut as that is; it begins at 0."""
        logical = replace(logical, key=replace(logical.key, slot=slot))
        self.builder.initial.setdefault(logical.key, {"type": "constant", "value": 0.0})
        beside = BufferKey(replace(key.of, slot=slot), "solver state", key.device)
        return self.builder.declare(beside, shape, "float32", logical)

    def _average(self, key: BufferKey) -> None:
        """The average goes towards the parameter as it is after the update."""
        param = self.builder.buffers[key]
        assert param.logical is not None
        beside, logical = averages(key, param.logical)
        self.builder.initial.setdefault(logical.key, self.builder.initial[param.logical.key])
        args = {
            "average": self.builder.declare(beside, param.shape, param.dtype, logical),
            "param": Region(key),
            "share": self.builder.rates.share(key.device),
            "finite": Region(_verdict(key.device)),
        }
        step = StepKey("average", key.device, key.of.layer, target=key)
        self.builder.operation(step, "average", args, flops=3 * prod(param.shape))


def _of_part(logical: Logical, count: int) -> Logical:
    """Numbers of a parameter's parts, a row for each part."""
    if logical.axis is None:
        return Logical(logical.key, (1, count))
    width = logical.stop - logical.start
    place = logical.start // width
    return Logical(logical.key, (logical.shape[logical.axis] // width, count), 0, place, place + 1)


def _verdict(device: str) -> BufferKey:
    return of_device("finite", "verdict", device)


def _overflow(device: str) -> BufferKey:
    return of_device("overflow", "overflow", device)
