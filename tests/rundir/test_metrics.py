"""Metrics of any length are read in bounded memory; a line that is odd is told and left out."""

import json
import random
import tracemalloc

import pytest
from cli_tools import netspec

from netspec.rundir import metrics
from netspec.rundir.directory import began
from netspec.rundir.metrics import FILE, RECENT, read_metrics

PER_EPOCH = 500


def line(event, time, **values):
    return json.dumps({"event": event, "time": time, **values}) + "\n"


def start(time, iteration=0):
    return line("start", time, iteration=iteration, iterations_per_epoch=PER_EPOCH, total_iterations=10 * PER_EPOCH)


def iterations(first, last):
    for n in range(first, last + 1):
        values = {"loss": 2 - n / 10_000, "errors": {"top1": 0.5, "top5": None}, "seconds": 0.5, "images_per_second": 8}
        yield line("iteration", 1000 + n, epoch=1 + (n - 1) // PER_EPOCH, iteration=n, **values)
        if n % PER_EPOCH == 0:
            values = {"loss": 2.0, "errors": {"top1": 1 - n / 10_000}}
            yield line("evaluation", 1000 + n, epoch=n // PER_EPOCH, iteration=n, **values)


def write(folder, *parts):
    with open(folder / FILE, "w") as file:
        for part in parts:
            file.writelines([part] if isinstance(part, str) else part)


def summary(found):
    return (found.iteration, len(found.starts), [one["epoch"] for one in found.evaluations], found.began, found.seconds)


@pytest.fixture
def resumed(tmp_path):
    """5,000 iterations, of which the last 400 were made twice; an hour between the two sessions."""
    last = line("finish", 9600, epoch=10, iteration=5000, status="finished")
    write(tmp_path, start(1000), iterations(1, 3400), start(7000, 3000), iterations(3001, 5000), last)
    return tmp_path


def test_a_part_of_the_iterations_tells_what_all_of_them_do(resumed, monkeypatch):
    whole = read_metrics(resumed)
    assert summary(whole) == (5000, 2, list(range(1, 11)), 1000, (4400 - 1000) + (9600 - 7000))
    assert list(whole.iterations.iteration) == list(range(1, 5001))
    monkeypatch.setattr(metrics, "_READ_BYTES", 50_000)
    read = []
    monkeypatch.setattr(metrics, "parsed", lambda *args, real=metrics.parsed: read.append(args[0]) or real(*args))
    part = read_metrics(resumed)
    assert summary(part) == summary(whole) and part.ended
    assert len(read) < 1500
    assert list(part.iterations.iteration) == sorted(set(part.iterations.iteration))
    for column in ("iteration", "loss"):
        tails = [list(getattr(found.iterations, column))[-RECENT:] for found in (part, whole)]
        assert tails[0] == tails[1]
    assert {name: len(column) for name, column in part.iterations.errors.items()} == dict.fromkeys(
        ("top1", "top5"), len(part.iterations)
    )


def test_memory_is_a_small_part_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_READ_BYTES", 50_000)
    write(tmp_path, start(1000), iterations(1, 40 * PER_EPOCH))
    tracemalloc.start()
    assert read_metrics(tmp_path).iteration == 40 * PER_EPOCH
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / FILE).stat().st_size / 10


def test_a_killed_session_ends_with_its_last_iteration(tmp_path):
    write(tmp_path, line("note", 5, text="x"), start(1000), iterations(1, 40), line("note", 5000, text="going on"))
    found = read_metrics(tmp_path)
    assert (found.began, found.seconds, found.iteration, found.ended) == (5, 40, 40, False)


ODD = [
    ("iteration", {"iteration": 2**63}),
    ("iteration", {"iteration": -1}),
    ("iteration", {"iteration": True}),
    ("iteration", {"iteration": 1.0}),
    ("iteration", {"iteration": None}),
    ("iteration", {"loss": "nan"}),
    ("iteration", {"loss": float("nan")}),
    ("iteration", {"loss": 10**400}),
    ("iteration", {"errors": [0.5]}),
    ("iteration", {"errors": {"top1": {}}}),
    ("iteration", {"time": 1e30}),
    ("iteration", {"time": "now"}),
    ("iteration", {"seconds": [], "images_per_second": 3}),
    ("start", {"total_iterations": "many"}),
    ("start", {"iterations_per_epoch": -1}),
    ("evaluation", {"epoch": 2.5}),
    ("finish", {"status": "exploded", "epoch": 1}),
    ("finish", {"status": ["finished"], "epoch": 1}),
    ([], {}),
    (None, {}),
]


@pytest.mark.parametrize(("event", "values"), ODD, ids=[f"{event}-{values}" for event, values in ODD])
def test_an_odd_line_is_told_and_left_out(tmp_path, event, values):
    odd = line(event, **{"time": 1002.5, "iteration": 3, "epoch": 1, **values})
    write(tmp_path, start(1000), *iterations(1, 2), odd, *iterations(3, 4))
    found = read_metrics(tmp_path)
    assert len(found.faults) == 1 and found.faults[0].startswith(f"{tmp_path / FILE}:4: ")
    assert (found.iteration, list(found.iterations.iteration), found.seconds) == (4, [1, 2, 3, 4], 4)


def test_a_line_without_what_it_needs_is_told(tmp_path):
    write(tmp_path, start(1000), '{"event": "iteration", "time": 3}\n', '{"event": "of a later version"}\n')
    assert read_metrics(tmp_path).faults == (f"{tmp_path / FILE}:2: iteration without 'iteration'",)


def test_errors_of_a_thousand_names_take_no_thousand_columns(tmp_path):
    rng = random.Random(0)
    errors = ({f"e{rng.random()}": 0.5 for _ in range(5)} for _ in range(200))
    write(tmp_path, *(line("iteration", 1, iteration=n, epoch=1, errors=each) for n, each in enumerate(errors, 1)))
    found = read_metrics(tmp_path).iterations
    assert len(found) == 200 and len(found.errors) == 8


@pytest.mark.parametrize("time", ["NaN", "1e300", "-1", '"now"', "null", "[]", "true"])
def test_a_run_that_began_at_no_time_is_listed_all_the_same(tmp_path, time):
    folder = tmp_path / "net" / "x"
    folder.mkdir(parents=True)
    for name in ("spec.resolved.yaml", "history.jsonl", FILE):
        (folder / name).write_text(f'{{"what": "start", "event": "note", "time": {time}}}\n')
    assert netspec("runs", "--out", tmp_path).code == 0
    assert began(folder) == (folder / "spec.resolved.yaml").stat().st_mtime
