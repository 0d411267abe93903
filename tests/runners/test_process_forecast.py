"""What is predicted of a run of several processes: against what they do, and against a published table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import log2, prod
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from several_processes import LONGEST_S, MPIEXEC, TINY, needs_mpi

from netspec.errors import NetspecError, SpecError
from netspec.planning import build
from netspec.planning.plan import Plan, Region
from netspec.planning.rank_cut import parts as slices
from netspec.planning.replica_tree import turn_of
from netspec.program import memory
from netspec.report.lowered import lowered
from netspec.runners.interconnect import NETWORKS, Interconnect, Link, interconnect
from netspec.runners.process_forecast import Elements, Share, bucketed, elements_of, exchanged, forecast, summed_by
from netspec.runners.transport.exchange import Bucket, buckets
from netspec.spec import load

COUNTING = """
import json, os, sys
import netspec.runners.transport.mpi as mpi
from netspec.api import run

class Counting(mpi.Mpi):
    '''Counts what is handed to MPI for other ranks, and what comes of them.'''
    sent = received = messages = 0
    def alltoall(self, send, counts, receive):
        own = counts[self.rank]
        Counting.sent += send[: sum(counts)].nbytes - own * send.itemsize
        Counting.received += (self.size - 1) * own * receive.itemsize
        Counting.messages += self.size - 1
        super().alltoall(send, counts, receive)
    def allgather(self, values, counts):
        own = counts[self.rank] * values.itemsize
        Counting.sent += (self.size - 1) * own
        Counting.received += values[: sum(counts)].nbytes - own
        Counting.messages += self.size - 1
        super().allgather(values, counts)

    def send(self, values, to):
        Counting.sent += values.nbytes
        Counting.messages += 1
        super().send(values, to)
    def receive(self, values, source):
        Counting.received += values.nbytes
        super().receive(values, source)

    def greatest(self, values):
        "Once at the end of each iteration"
        found.append([Counting.sent, Counting.received, Counting.messages])
        return super().greatest(values)

found, mpi.Mpi = [], Counting
run(sys.argv[1], out=sys.argv[2], devices=sys.argv[3], iterations=3, listener=lambda event: None)
one = [after - before for before, after in zip(found[-2], found[-1])]  # of the last iteration, and no checkpoint
open(f"{sys.argv[2]}/{os.environ['PMI_RANK']}.json", "w").write(json.dumps(one))
"""

HYBRID = """
netspec: 1
name: hybrid
devices: [left, right]
replicas: 2
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: [left, right], split: batch, inputs: image, filters: 6, size: 3, pad: 1}
  - {name: relu1, type: relu}
  - {name: drop1, type: dropout}
  - {name: fc2, type: dense, split: channels, units: 40, inputs: {from: drop1, connect: all}}
  - {name: relu2, type: relu}
  - {name: fc3, type: dense, device: left, units: 3, inputs: {from: relu2, connect: all}}
  - {name: loss, type: softmax_loss, inputs: [fc3, label]}
train: {batch: 16, seed: 5, clip_norm: 2.0}
data:
  source: {type: generated, classes: 3, images: 64, val_images: 8}
  scale: 0.01
  workers: 0
"""


def counted(file: Path, processes: int, devices: str = "cpu") -> list[tuple[int, int, int]]:
    """Bytes that each of so many processes handed to MPI and got in an iteration, and messages that it sent."""
    script, out = file.parent / "counting.py", file.parent / f"out{processes}"
    script.write_text(COUNTING)
    out.mkdir()
    launch = [str(MPIEXEC), "-n", str(processes), sys.executable, "-m", "mpi4py"]
    words = [*launch, str(script), str(file), str(out), devices]
    apart = {**os.environ, "MPIR_CVAR_NOLOCAL": "1"}  # as on machines that share no memory
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=apart)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads((out / f"{rank}.json").read_text())) for rank in range(processes)]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@needs_mpi
def test_bytes_are_those_that_four_processes_move(tiny: Path) -> None:
    found = counted(tiny, 4)
    cut = bucketed(elements_of(build(load(tiny), processes=4)), 4)
    for rank, one in enumerate(found):
        wanted = sum(one.moved(rank) for one in cut)
        assert one == (wanted, wanted, 2 * 3 * len(cut))
    share = Share("tiny", 2, 0.1, {"left": 1}, None, exchanged(load(tiny)), 1e10, "here")
    told = forecast(share, 4, NETWORKS["10g"])
    assert (told.sent, told.received, told.messages) == tuple(map(max, zip(*found, strict=True)))


def cut_of(plan: Plan, regions: list[Region], groups: int) -> list[Bucket]:
    """The buckets of one step."""
    counts = [prod(one.shape_in(plan.buffers[one.buffer].shape)) for one in regions]
    return buckets([np.empty(count, np.float32) for count in counts], groups)


@needs_mpi
@pytest.mark.parametrize(("text", "processes"), [(HYBRID, 2), (TINY, 4)])
def test_bytes_are_those_of_devices_over_ranks(tmp_path: Path, text: str, processes: int) -> None:
    """Groups of two: what their ranks send each other, and what each sums with the same rank of the other group."""
    file, devices = tmp_path / "apart.yaml", "0/cpu:0,1/cpu:0"
    file.write_text(text)
    found, groups = counted(file, processes, devices), processes // 2
    plan = build(load(file), processes=groups)
    for rank, one in enumerate(slices(plan, (0, 1))):
        turns = [turn_of(replica) for replica in range(plan.replicas // groups)]
        due = [step for turn in turns for step in one.steps if not step.turns or turn in step.turns]
        sent, received = ([step.bytes for step in due if step.op == op] for op in ("send", "receive"))
        cut = [bucket for regions in summed_by(one) for bucket in cut_of(one, regions, groups)]
        for group in range(groups):
            more = sum(bucket.moved(group) for bucket in cut)
            wanted = (sum(sent) + more, sum(received) + more, len(sent) + 2 * (groups - 1) * len(cut))
            assert found[2 * group + rank] == wanted
    said = netspec("info", file, "--devices", devices, "--processes", processes, "--device", "h100", "--json")
    told = json.loads(said.out)["processes"]
    for one in told["networks"]:
        assert (one["each"], one["images"]) == (2, 16 // groups if text == HYBRID else 8 // groups)
        assert (one["sent"], one["messages"]) == tuple(max(each[place] for each in found) for place in (0, 2))


def test_info_tells_each_network_and_what_a_plan_of_a_process_takes(tiny: Path) -> None:
    said = netspec("info", tiny, "--processes", "4", "--device", "h100", "--json")
    found = json.loads(said.out)["processes"]
    assert [one["network"] for one in found["networks"]] == list(NETWORKS)
    assert all(one["images"] == 2 and one["batch"] == 8 and one["nodes"] in (1, 4) for one in found["networks"])
    shown = netspec("info", tiny, "--processes", 4, "--device", "h100").out
    assert "no run of several processes has been timed on GPUs" in shown and "in one process, on CPUs\n" in shown
    measured = json.loads(netspec("info", tiny, "--processes", "4", "--seconds", "0.1", "--devices", "cpu", "--network",
                                  "10g", "--json").out)["processes"]  # fmt: skip
    spec = load(tiny)
    plans = [build(spec, "train", processes=4), build(spec, "eval")]
    programs = [lowered(plan, spec, "cpu") for plan in plans]
    assert measured["share"]["memory"] == {name: row["total"] for name, row in memory(programs).items()}
    assert len(measured["networks"]) == 1 and "this machine, measured" in measured["share"]["where"]


def test_neither_processes_nor_mpi_are_started(tiny: Path) -> None:
    code = (
        "import sys; from netspec.cli import main\n"
        f"sys.argv = ['netspec', 'info', {str(tiny)!r}, '--processes', '2', '--device', 'h100']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(("words", "code", "told"), [
    (("--processes", 3), 1, "3 processes: it must be a power of two"),
    (("--processes", 8), 1, "8 processes for 4 replicas: each works at least one"),
    (("--processes", 2, "--network", "40g"), 1, "there is no network and no file '40g'"),
    (("--processes", 2, "--device", "z80"), 2, "there is no model of 'z80'"),
    (("--processes", 2, "--phase", "eval"), 2, "several processes train"),
    (("--network", "10g"), 2, "give --processes too"),
    (("--device", "h100"), 2, "give --processes too"),
    (("--processes", 2, "--device", "h100", "--seconds", 1), 2, "leave one of them out"),
    (("--processes", 1), 2, "1 is not in the range"),
    (("--processes", 5, "--devices", "0/cpu:0,1/cpu:0"), 1, "no whole groups of the 2 in which"),
    (("--processes", 6, "--devices", "0/cpu:0,1/cpu:0"), 1, "3 groups of 2 processes: it must be a power of two"),
])  # fmt: skip
def test_what_means_nothing_is_refused(tiny: Path, words: tuple[object, ...], code: int, told: str) -> None:
    said = netspec("info", tiny, *words)
    assert said.code == code and told in said.err


# Networks -----------------------------------------------------------------------------------------------------------

FILE = "processes: 2\nwithin: {latency: 1.0e-6, bandwidth: 5.0e+9}\nbetween: {latency: 2.0e-5, bandwidth: 1.0e+9}\n"


def test_a_network_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(FILE)
    assert interconnect(str(file)) == Interconnect("ours.yaml", 2, Link(1e-6, 5e9), Link(2e-5, 1e9))


@pytest.mark.parametrize(("old", "new", "told"), [
    ("processes: 2\n", "", "'processes' is missing"),
    ("processes: 2", "processes: 0", "'processes' must be a whole number of at least 1, got 0"),
    ("within:", "wthin:", "unknown key 'wthin'"),
    ("{latency: 1.0e-6, bandwidth: 5.0e+9}", "fast", "'within' must be a map, got 'fast'"),
    (", bandwidth: 5.0e+9", "", "'within.bandwidth' is missing"),
    ("1.0e-6", "-1", "'within.latency' must be a number of at least 0"),
    (FILE, "", "nothing is written here"),
    (FILE, "- 1\n", "'network' must be a map"),
    (FILE, "a: [", "ours.yaml:1"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(FILE.replace(old, new))
    with pytest.raises(SpecError) as caught:
        interconnect(str(file))
    assert told in str(caught.value) and "ours.yaml:" in str(caught.value)


def test_a_network_that_nobody_knows() -> None:
    with pytest.raises(NetspecError, match=r"networks are nvlink\+400g"):
        interconnect("dialup")


# The model ----------------------------------------------------------------------------------------------------------


def share(elements: Elements, seconds: float = 1.0, bandwidth: float = 1e30, room: int | None = None) -> Share:
    return Share("made", 128, seconds, {"main": 1000}, room, elements, bandwidth, "nowhere")


@pytest.mark.parametrize("processes", [2, 8, 64])
def test_bytes_on_a_wire_of_one_process_a_node(processes: int) -> None:
    """2 (p - 1) / p of the data leave each process, as in a ring; a second of exchange is a second of an iteration."""
    network = Interconnect("ideal", 1, Link(0.0, 1e9), Link(0.0, 1e9))
    found = forecast(share(((1 << 20,) * 8, ())), processes, network)
    assert found.sent == 2 * (processes - 1) * (1 << 25) // processes
    assert found.exchange == pytest.approx(found.sent / 1e9) and found.latency == 0.0
    assert found.iteration == pytest.approx(found.compute + found.exchange)
    assert found.efficiency == pytest.approx(1.0 / found.iteration)


@pytest.mark.parametrize("processes", [2, 16])
def test_messages_of_each_bucket(processes: int) -> None:
    """A barrier, p - 1 messages of an alltoall, p - 1 rounds of a ring, and the agreement of an iteration."""
    network = Interconnect("slow to answer", 1, Link(1e-3, 1e30), Link(1e-3, 1e30))
    found = forecast(share(((1 << 20,) * 3, ())), processes, network)
    hops, buckets = log2(processes), {2: 3, 16: 1}[processes]  # three arrays of 4 MiB
    assert found.exchange == pytest.approx(1e-3 * (buckets * (hops + 2 * (processes - 1)) + 2 * hops))
    assert found.exchange == pytest.approx(found.latency) and found.messages == buckets * 2 * (processes - 1)


def test_within_a_node_the_network_between_nodes_does_not_count() -> None:
    links = Link(1e-6, 1e10), Link(1.0, 1.0)
    inside = forecast(share(((1 << 20,), ())), 4, Interconnect("a", 4, *links))
    assert inside.exchange < 0.01 and forecast(share(((1 << 20,), ())), 8, Interconnect("a", 4, *links)).exchange > 1e6


def test_sums_take_memory_bandwidth() -> None:
    free = Interconnect("free", 1, Link(0.0, 1e30), Link(0.0, 1e30))
    found = forecast(share(((1 << 20,), ()), bandwidth=1e9), 4, free)
    assert found.exchange == pytest.approx(3 * 3 / 4 * (1 << 22) / 1e9)


def test_what_binds() -> None:
    fast, slow = NETWORKS["nvlink+400g"], NETWORKS["10g"]
    assert forecast(share(((1 << 24,), ())), 2, fast).binds == "compute"
    assert forecast(share(((1 << 24,), ()), seconds=1e-3), 2, slow).binds == "network"
    assert forecast(share(((1 << 24,), ()), room=1 << 20), 2, fast).binds == "memory"
    alone = forecast(share(((1 << 24,), ())), 1, slow)
    assert (alone.efficiency, alone.exchange, alone.sent, alone.binds) == (1.0, 0.0, 0, "compute")


PUBLISHED = {2: (50.24, 55.8, 50.3), 4: (26.20, 29.7, 25.8), 8: (15.68, 16.4, 15.1)}
"""Krizhevsky (2014): hours of 90 epochs by the number of K20s; 98.05 h on one, batches of 128 on each. Beside each what
docs/scale.md says that the model makes of it: data parallel, and with the bytes of his scheme."""
HOURS = 98.05
PCIE = Interconnect("PCIe, two groups of four", 4, Link(20e-6, 5e9), Link(20e-6, 6.4e9))
"""What his cards were connected by is not published in numbers: rates that PCIe 2 and 3 reach."""


def test_krizhevsky_s_table() -> None:
    """He cut the dense layers over the cards and hid most of the rest, and so moved less than netspec does: hours that
    are predicted for data parallelism lie above his, and with the bytes of his scheme in the same model near them."""
    spec = load("alexnet")
    plan = build(load("alexnet", ["replicas=2", "train.batch=256"]), processes=2)
    regions = zip((one for several in summed_by(plan) for one in several), sum(elements_of(plan), ()), strict=True)
    convolutions = tuple(count for one, count in regions if (one.buffer.of.layer or "").startswith("conv"))
    seconds = HOURS * 3600 / (90 * 1_281_167 / 128)
    crossing = 2 * 128 * 4 * (9216 + 2 * 4096)
    for processes, (hours, told, told_hybrid) in PUBLISHED.items():
        plain = forecast(share(exchanged(spec), seconds), processes, PCIE)
        found = HOURS * plain.iteration / seconds / processes
        assert found == pytest.approx(told, abs=0.06) and 1.04 < found / hours < 1.20
        inside = forecast(share((convolutions, ()), seconds), processes, PCIE)
        link = PCIE.within.bandwidth if processes <= 4 else PCIE.between.bandwidth / 4
        hybrid = inside.iteration + (processes - 1) * crossing / link
        found = HOURS * hybrid / seconds / processes
        assert found == pytest.approx(told_hybrid, abs=0.06) and abs(found / hours - 1) < 0.05
