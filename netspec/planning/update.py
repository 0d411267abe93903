"""The end of a training iteration: gradients checked, all devices agree, parameters and state committed."""

from __future__ import annotations

from math import prod

from netspec.planning.backward import Backward
from netspec.planning.builder import Builder
from netspec.planning.plan import Region
from netspec.planning.shards import Shard


class Update:
    """Appends the finite checks, the exchange of their flags and one update a parameter.

    ``finite@device`` holds all devices' verdicts, 1 for a finite iteration; ``overflow@device`` a flag for each update
    on the device, 1 where it gave numbers that are not finite.
    """

    def __init__(self, builder: Builder, backward: Backward) -> None:
        self.builder, self.backward = builder, backward
        self.shards = [shard for shards in builder.network.shards for shard in shards]
        self.devices = builder.network.spec.devices
        self.places: dict[str, int] = {}
        """A parameter's place among the gradients that its device checks."""

    def run(self) -> None:
        """All steps from the last gradient to the end of the iteration."""
        gradients = self._gradients()
        checks: dict[str, list[Region]] = {device: [] for device in self.devices}
        for buffer, region in gradients.items():
            device = self.builder.buffers[buffer].device
            self.places[buffer] = len(checks[device])
            checks[device].append(region)
        for state, following in self.builder.latest.items():
            if self.builder.buffers[state].dtype == "float32":
                checks[self.builder.buffers[state].device].append(Region(following))
        for shard in self.shards:
            if "report" in shard.outputs:
                checks[shard.device].append(Region(shard.outputs["report"].buffer))
        judges = tuple(device for device in self.devices if checks[device])
        for device in judges:
            self._check(device, judges, checks[device])
        self._exchange(judges, self._informed(judges))
        self._commit(gradients)

    def _gradients(self) -> dict[str, Region]:
        found = {}
        for shard in self.shards:
            for buffer in shard.params.values():
                region = self.backward.parameter_gradient(buffer) if buffer not in found else None
                if region is not None:
                    found[buffer] = region
        return found

    def _check(self, device: str, judges: tuple[str, ...], regions: list[Region]) -> None:
        """Each gradient sets a flag of its own; the device's verdict is 1 where all are finite."""
        flags = self.builder.buffer(f"flags@{device}", device, (len(regions),), "int32", "flag")
        self.builder.buffer(f"finite@{device}", device, (len(judges),), "int32", "flag")
        for number, region in enumerate(regions):
            flag = Region(flags.buffer, 0, number, number + 1)
            name = f"{region.buffer}.finite"
            self.builder.step(name, "finite", device, {"source": region, "flag": flag}, ("flag",))
        place = judges.index(device)
        verdict = Region(f"finite@{device}", 0, place, place + 1)
        overflow = self.builder.buffer(f"overflow@{device}", device, (len(regions),), "int32", "flag")
        args = {"flags": flags, "verdict": verdict, "overflow": overflow}
        self.builder.step(f"agree@{device}", "agree", device, args, ("verdict", "overflow"))

    def _informed(self, judges: tuple[str, ...]) -> tuple[str, ...]:
        """Devices that judge, hold parameters or hold state."""
        holders = {shard.device for shard in self.shards if shard.params}
        return tuple(device for device in self.devices if device in judges or device in holders)

    def _exchange(self, judges: tuple[str, ...], informed: tuple[str, ...]) -> None:
        """Every device that has a say or commits comes to know every device's verdict."""
        for target in informed:
            self.builder.buffer(f"finite@{target}", target, (len(judges),), "int32", "flag")
            for place, source in enumerate(judges):
                if source != target:
                    ours, theirs = (Region(f"finite@{d}", 0, place, place + 1) for d in (target, source))
                    self.builder.copy(f"finite.{source}.to.{target}", source, target, theirs, ours, 4)

    def _commit(self, gradients: dict[str, Region]) -> None:
        done: set[str] = set()
        for shard in self.shards:
            for name, buffer in shard.params.items():
                if buffer not in done:
                    done.add(buffer)
                    self._commit_one(shard, name, buffer, gradients.get(buffer))

    def _commit_one(self, shard: Shard, name: str, buffer: str, gradient: Region | None) -> None:
        finite = Region(f"finite@{shard.device}")
        following = self.builder.latest.get(buffer)
        if following is not None:
            args = {"state": Region(buffer), "following": Region(following), "finite": finite}
            self.builder.step(f"{buffer}.commit", "commit", shard.device, args, ("state",), layer=shard.spec.name)
        elif gradient is not None:
            self._sgd(shard, name, buffer, gradient, finite)

    def _sgd(self, shard: Shard, name: str, buffer: str, gradient: Region, finite: Region) -> None:
        param = self.builder.buffers[buffer]
        assert param.logical is not None
        logical = self.builder.logical(shard, f"{name}.momentum", param.shape, param.logical.axis)
        self.builder.initial.setdefault(logical.name, {"type": "constant", "value": 0.0})
        momentum_name = buffer.replace("@", ".momentum@")
        momentum = self.builder.buffer(momentum_name, shard.device, param.shape, param.dtype, "momentum", logical)
        args = {
            "param": Region(buffer),
            "momentum": momentum,
            "gradient": gradient,
            "rates": Region(f"rates@{shard.device}"),
            "finite": finite,
            "overflow": Region(f"overflow@{shard.device}", 0, self.places[buffer], self.places[buffer] + 1),
        }
        factors = shard.spec.multiplier_of(name)
        self.builder.step(
            f"{buffer}.update",
            "update",
            shard.device,
            args,
            ("param", "momentum", "overflow"),
            layer=shard.spec.name,
            attrs={"rate": factors.rate, "decay": factors.decay},
            flops=6 * prod(param.shape),
        )
