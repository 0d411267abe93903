"""A report for a bug: complete, and without paths, user, host and class names."""

from __future__ import annotations

import json
import socket

import pytest
from cli_tools import netspec

from netspec.report import fault_report, health

SPEC = {
    "name": "mine",
    "devices": ["left", "right"],
    "train": {"batch": 64, "sgd": {"learning_rate": 0.02}},
    "data": {"source": {"type": "folder", "path": "/srv/Clinic Nord/x rays"}},
}
LOG = """\
2026-01-31 12:00:00  12 training images of 3 classes from /srv/Clinic Nord/x rays (folder)
2026-01-31 12:00:01  images of alice@clinic.example at midgard.example, by alicia in /home/alicia/jobs
2026-01-31 12:00:02  no images of 1 of 3 classes: Rare Disease
2026-01-31 12:00:03  3 images could not be read: left out
2026-01-31 12:00:03  cannot read: Meyer Anna.jpg: truncated
2026-01-31 12:00:03  rare disease/Schmidt.png is empty, Weber.webp too
2026-01-31 12:00:04  C:/Users/alicia/x and ~/private/y and ../beside/z were passed over
2026-01-31 12:00:05  epoch 1, iteration 1: loss 2.305, top-1 error 87.5 %, 50.5 img/s, 12/24 images, 45.7 GB/s
"""
SECRETS = "alicia alice midgard clinic nord rays rare disease meyer anna schmidt weber private beside weird odd".split()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run full of names, of which one image's is in no other file than the list of broken ones."""
    monkeypatch.setattr(health, "CHECKS", {"python": lambda: health.Finding("python", "ok", "3.12 at /home/alicia/py")})
    monkeypatch.setattr(fault_report.getpass, "getuser", lambda: "alicia")
    monkeypatch.setattr(socket, "gethostname", lambda: "midgard.example")
    folder = tmp_path / "runs of alicia" / "mine"
    folder.mkdir(parents=True)
    words = {"rare": "Weird Odd"}
    (folder / "start.json").write_text(json.dumps({"spec": SPEC, "words": words}))
    (folder / "environment.json").write_text(json.dumps({"python": "3.12", "folder": "/home/alicia", "cores": 2}))
    (folder / "classes.txt").write_text("Rare Disease\nhealthy\nrare\n")
    (folder / "broken-images.txt").write_text("Odd Name Without End: truncated\n")
    (folder / "log.txt").write_text(LOG + f"2026-01-31 12:00:06  Odd Name Without End, {folder}: weird odd\n")
    return folder


def test_no_name_is_in_the_report_and_all_else_is(run):
    said = netspec("doctor", "--report", run)
    assert (said.code, said.err) == (0, "")
    shown = said.out.lower()
    assert not [secret for secret in SECRETS if secret in shown], said.out
    measured = ("loss 2.305", "50.5 img/s, 12/24 images", "45.7 GB/s")
    for kept in ("python: 3.12", "batch: 64", "learning_rate: 0.02", "cores: 2", *measured):
        assert kept in said.out
    assert "<class 0>" in said.out and "<run>" in said.out and "netspec 0." in said.out


def test_only_the_end_of_a_log_is_in_it(run):
    (run / "log.txt").write_text("".join(f"2026-01-31 12:00:00  line {number}\n" for number in range(1000)))
    out = netspec("doctor", "--report", run).out
    assert "line 999" in out and "line 940" in out and "line 939" not in out


def test_without_a_run_it_is_the_machine(run):
    data = json.loads(netspec("doctor", "--report", "--json").out)
    assert "python: 3.12" in data["report"] and "alicia" not in data["report"] and "Spec" not in data["report"]


def test_a_damaged_run_has_a_report_of_what_is_left(run):
    (run / "start.json").write_text("")
    (run / "classes.txt").write_bytes(b"\xff")
    said = netspec("doctor", "--report", run)
    assert said.code == 0 and not said.err
    damaged = said.out.partition("## Damaged files of the run")[2]
    assert "start.json: is not JSON" in damaged and "is not UTF-8" in damaged
    assert "loss 2.305" in said.out and "## Spec" not in said.out


def test_what_is_no_run_is_told(run, tmp_path):
    said = netspec("doctor", "--report", tmp_path)
    assert (said.code, said.err) == (1, f"error: {tmp_path}: no run's folder: it has no start.json\n")
    assert netspec("doctor", run).code == 2
