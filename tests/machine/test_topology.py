"""NUMA nodes: what the system tells of them, and threads that keep to one; topologies made up in a folder."""

from __future__ import annotations

import os
import threading

import pytest

from netspec.device import binding
from netspec.device.binding import available, bind, cores_of, team_size
from netspec.machine import ranks, topology
from netspec.machine.topology import cores_by_node, deal, stay
from netspec.runners.execution.session import Session
from netspec.spec import load

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no thread to cores")
TWO_SOCKETS = ("0-3,8-11", "4-7,12-15")  # as Linux numbers the hyper-threads of two sockets


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """A machine with these nodes, all of whose cores may be used but for ``without``."""

    def have(*listed, without=()):
        for number, cores in enumerate(listed):
            (tmp_path / f"node{number}").mkdir()
            (tmp_path / f"node{number}" / "cpulist").write_text(f"{cores}\n")
        (tmp_path / "possible").write_text("0-1\n")
        usable = {core for cores in listed for core in topology._numbers(cores)} - set(without)
        monkeypatch.setattr(topology, "_NODES", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(usable))
        monkeypatch.setattr(binding, "cores", lambda: len(usable))

    return have


def test_cores_by_node(nodes):
    nodes(*TWO_SOCKETS, "", without=range(8, 16))
    assert cores_by_node() == [(0, 1, 2, 3), (4, 5, 6, 7)]


@pytest.mark.parametrize("content", ["", "0-x", "0"])
def test_a_system_that_tells_too_little_has_one_node(tmp_path, monkeypatch, content):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    (tmp_path / "node0").mkdir()
    (tmp_path / "node0" / "cpulist").write_text(content)
    assert cores_by_node(tmp_path) == cores_by_node(tmp_path / "absent") == [(0, 1, 2)]


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, [()]),
        (2, [(0, 1, 8), (2, 3)]),
        (4, [(0,), (1, 8), (2,), (3,)]),
        (3, [(), (), ()]),
        (8, [()] * 8),  # fewer cores than devices on a node
    ],
)
def test_devices_lie_on_whole_nodes_or_shares_of_one(count, shares):
    assert deal(count, [(0, 1, 8), (2, 3)]) == shares
    assert deal(count, [(0, 1, 2, 3)]) == [()] * count


def test_a_device_on_several_nodes_has_all_their_cores():
    assert deal(2, [(0,), (1,), (2,), (3,)]) == [(0, 1), (2, 3)]


def test_two_devices_are_two_sockets(nodes):
    nodes(*TWO_SOCKETS)
    names = ("cpu:0", "cpu:1")
    assert [cores_of(name, names) for name in names] == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)]
    assert [(one.name, one.description) for one in available()] == [
        ("cpu:0", "8 cores, NUMA node 1 of 2"),
        ("cpu:1", "8 cores, NUMA node 2 of 2"),
    ]
    assert bind(("a", "b"))[1] == ("a is cpu:0, b is cpu:1; 8 threads each on 16 cores, on NUMA nodes of their own",)
    assert bind(("a", "b"), ["cpu:0,cpu:0"])[1] == ("a is cpu:0, b is cpu:0; 16 threads each on 16 cores",)


def test_the_team_of_a_node_with_fewer_cores_is_smaller(nodes):
    nodes(*TWO_SOCKETS, without=(12, 13))
    assert [team_size(name, ("cpu:1", "cpu:0")) for name in ("cpu:0", "cpu:1")] == [8, 6]


def test_processes_share_nodes_before_they_share_cores(nodes, monkeypatch):
    nodes(*TWO_SOCKETS)
    given = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: given.append(tuple(cores)))
    for place in range(2):
        ranks.share_cores(place, 2)
    assert given == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)]


def test_threads_of_a_device_keep_to_its_node(monkeypatch):
    """Each queue's thread, each member of a team and those that touch its memory first; the main thread is free."""
    kept: dict[str, set[int]] = {}

    def record(thread, cores):
        kept.setdefault(threading.current_thread().name, set()).update(cores)

    monkeypatch.setattr(os, "sched_setaffinity", record)
    monkeypatch.setattr(binding, "cores_by_node", lambda: [(0, 1), (2, 3)])
    with Session(load("quickstart"), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        names = list(session.devices)
    devices = {name: {f"netspec-{name}-compute", f"netspec-{name}-copy"} & kept.keys() for name in names}
    assert all(devices.values())
    for (name, threads), cores, helper in zip(devices.items(), ({0, 1}, {2, 3}), ("cpu:0", "cpu:1"), strict=True):
        assert {frozenset(kept[thread]) for thread in threads} == {frozenset(cores)}, name
        assert kept[f"netspec-{helper}-team-1"] == cores
    assert "MainThread" not in kept


def test_cores_that_went_meanwhile_are_no_error(monkeypatch):
    def refuse(thread, cores):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    stay((5,))
