"""Replicas: parts of equal size of a training batch, each with its own forward and backward pass, added in one tree.

The steps of forward and backward run once for each replica, those of the update once for the batch. In between lies the
tree: replica r, counted from 0, first takes in what the replicas before it left, as a binary counter carries. With t
ones at the end of r in binary it completes subtrees of 1, 2, 4 ... 2^t replicas, of which the largest is kept until the
replica that completes the next one; t is the replica's ``turn``. So

    R = 4:  ((g0 + g1) + (g2 + g3))

needs log2 R buffers beside that of the gradient itself, and depends on R alone: whoever works a run of 2^k replicas,
the first of which is a multiple of 2^k, holds one whole subtree. So do p processes with R / p replicas each, numbered
from 0 in each; the rest of the tree, over processes, are the steps ``all_reduce``, see netspec.runners.transport. Each
of these sums a bucket: gradients that the backward pass completes one after the other, so that processes exchange some
while they compute others. Processes that see each other's gradients exchange all at once, when the backward pass has
ended: nothing would travel meanwhile, and the sums would take the cores that it needs.

Each gradient is the mean over its replica's valid rows and counts by their share of the batch's: 1 / R where all are
valid, a power of two, by which nothing is rounded. Running statistics take the mean of their next values likewise, and
the sums that cost layers report are added as they are. All that follows, the finite check, norms, solvers, sees the
batch's alone.

What a layer computes over the images of a batch (``Layer.over_images``) is over those of its replica. Over all of them
it would be two more sums over replicas at each such layer, one forward and one backward, before which no replica could
go on: the order would be layer after layer, with the activations of all replicas in memory, which is what one replica
of the whole batch takes. A process for each replica could do that in its own memory, but the same bits on fewer
processes could not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from netspec.contract.naming import Argument
from netspec.errors import Mark
from netspec.planning.builder import Builder
from netspec.planning.connect import fail
from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Region
from netspec.planning.shards import Shard
from netspec.spec.types import Spec


def turn_of(replica: int) -> int:
    """How many subtrees a replica completes: the ones at the end of its number in binary."""
    return (~replica & (replica + 1)).bit_length() - 1


def levels(replicas: int) -> int:
    """The depth of the tree; also the turn of the last replica."""
    return replicas.bit_length() - 1


def uneven_processes(groups: int, replicas: int, each: int = 1) -> tuple[str, str] | None:
    """Why so many processes, or groups of so many ``each``, cannot share the replicas, and what to do; else None."""
    what = f"{groups:,} processes" if each == 1 else f"{groups:,} groups of {each} processes"
    if groups & (groups - 1):
        return f"{what}: it must be a power of two", f"{each << (groups.bit_length() - 1):,}"
    if groups > replicas:
        have = "one replica" if replicas == 1 else f"{replicas:,} replicas"
        return f"{what} for {have}: each works at least one", f"--set replicas={groups}"
    return None


def check_processes(spec: Spec, groups: int, each: int = 1) -> None:
    """Raise SpecError where so many processes, or groups of so many ``each``, cannot share the replicas."""
    if problem := uneven_processes(groups, spec.replicas, each):
        raise fail(spec.marks.get("replicas", spec.mark), *problem)


SMALLEST_BUCKET, LARGEST_BUCKET, MESSAGE = 4 << 20, 64 << 20, 1 << 20
"""Bytes of buckets, and of what one process sends to another of each."""


def bucket_of(processes: int) -> int:
    """Bytes that so many processes exchange at once.

    Few of them add what is in the cache when it comes; many would wait for the latency of short messages.
    """
    return min(max(SMALLEST_BUCKET, processes * MESSAGE), LARGEST_BUCKET)


class Tree:
    """Appends the steps that add up over replicas; after ``finish`` the builder's steps run for the batch alone.

    With one replica there are none. In the last turn sums lie where each replica's own values did.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder, network = builder, builder.network
        self.replicas, self.processes = network.replicas, network.processes
        self.depth = levels(network.replicas // network.processes)
        self.in_memory = network.in_memory
        self._bucket: list[Region] = []
        self._count = 0

    def mean(self, region: Region) -> None:
        """Add up means that steps so far have written, each by its replica's share of the batch."""
        if self.replicas == 1:
            return
        if self.depth:
            self._append(region, self.builder.rates.of_batch(region.buffer.device))
        self._bucket.append(region)
        if not self.in_memory and sum(map(self._nbytes, self._bucket)) >= bucket_of(self.processes):
            self._exchange(shared=self.depth == 0)

    def finish(self, means: Iterable[Region], summed: Iterable[Region]) -> None:
        """Add up what is left: means, and sums, which are added as they are."""
        for region in means:
            self.mean(region)
        if self.replicas == 1:
            return
        self._exchange(shared=self.depth == 0)
        for region in summed:
            if self.depth:
                self._append(region, None)
            self._bucket.append(region)
        self._exchange(shared=False)
        self.builder.turns = (self.depth,)

    def _nbytes(self, region: Region) -> int:
        return self.builder.buffers[region.buffer].nbytes

    def _exchange(self, shared: bool) -> None:
        """One step for a bucket, whatever devices it lies on, on one queue: all processes exchange in one order.

        ``shared``: each process's values count by its share of the batch, which no step before has seen to.
        """
        regions, self._bucket = self._bucket, []
        if self.processes == 1 or not regions:
            return
        values = {Argument("value", index=number): region for number, region in enumerate(regions)}
        devices = dict.fromkeys(region.buffer.device for region in regions) if shared else ()
        shares = {
            Argument("share", index=number): self.builder.rates.of_batch(one) for number, one in enumerate(devices)
        }
        key = StepKey("all_reduce", self.builder.network.spec.devices[0], index=self._count)
        self._count += 1
        nbytes = sum(map(self._nbytes, regions))
        queue = "compute" if self.in_memory else "net"
        self._in_turn(self.depth, key, {**values, **shares}, tuple(values), queue=queue, nbytes=nbytes)

    def _append(self, region: Region, share: Region | None) -> None:
        own = self.builder.buffers[region.buffer]
        kept = [
            self.builder.declare(_level(region.buffer, level), own.shape, own.dtype) for level in range(self.depth)
        ]
        for turn in range(self.depth + 1):
            last = turn == self.depth
            args = {Argument("value"): region} if not last else {}
            args |= {Argument("subtree", index=level): kept[level] for level in range(turn)}
            args |= {Argument("share"): share} if share else {}
            args[target := Argument("target")] = region if last else kept[turn]
            key = StepKey("accumulate", region.buffer.device, target=region.buffer, index=turn)
            self._in_turn(turn, key, args, (target,))

    def _in_turn(self, turn: int, *step: Any, **more: Any) -> None:
        """A step of that turn alone."""
        self.builder.turns, before = (turn,), self.builder.turns
        self.builder.step(*step, **more)
        self.builder.turns = before


def _level(key: BufferKey, level: int) -> BufferKey:
    return replace(key, role="subtree", total=False, index=level)


def check_replicable(shard: Shard) -> None:
    """Raise SpecError for a layer whose random numbers replicas would share, or whose state has no mean."""
    check_draws(shard, "replicas", "leave out 'replicas'")
    check_means(shard, "replicas", "leave out 'replicas'", shard.spec.mark)


def check_draws(shard: Shard, what: str, remedy: str) -> None:
    """Raise SpecError for a layer whose random numbers would be the same for all parts of a batch."""
    drawing = (one for one in shard.layer.kernels if "key" in one.args and "channel_offset" not in one.args)
    if any(one.applies(shard.layer.conditions, shard.layer.phase) for one in drawing):
        message = f"{shard.spec.name}: {shard.spec.type} draws random numbers without 'channel_offset', so that all "
        help_ = f"see docs/plugins.md on random numbers, or {remedy}"
        raise fail(shard.spec.mark, f"{message}{what} would draw alike", help_)


def check_means(shard: Shard, what: str, remedy: str, mark: Mark) -> None:
    """Raise SpecError for a state of which there is no mean over parts of a batch."""
    for state in shard.t.names("state"):
        if shard.t[state].dtype != "float32":
            message = f"its state '{state}' is {shard.t[state].dtype}, which has no mean over {what}"
            raise fail(mark, f"{shard.spec.name}: {message}", remedy)


def check_statistics(shard: Shard, obstacle: str, remedy: str) -> None:
    """Raise SpecError for a layer that insists on computing over the whole batch."""
    if shard.layer.over_images and shard.layer.whole_batch():
        message = f"{shard.spec.name}: {shard.layer.over_images} over the whole batch cannot be had with {obstacle}"
        raise fail(shard.spec.mark_of("statistics"), message, f"{remedy}, or let each have its own, as is the default")
