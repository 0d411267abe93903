"""What the terminal shows of a run, from events alone."""

import io

import pytest
from rich.console import Console

from netspec.events import (
    CheckpointWritten,
    EvaluationDone,
    EvaluationProgress,
    IterationDone,
    Note,
    RunFinished,
    RunStarted,
)
from netspec.report import lines, progress, units
from netspec.report.progress import LiveProgress, Progress, fitted
from netspec.report.tracker import Tracker

FOLDER = "runs/net/2026-01-31_12-00-00"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def step(iteration, loss=2.0, seconds=1.0, finite=True, per_epoch=10):
    epoch = (iteration - 1) // per_epoch + 1
    errors = {"top1": 0.5, "top5": 0.25}
    return IterationDone(epoch, iteration, loss, errors, 0.01, 128 / seconds, 0.02, seconds, finite)


def play(listener, clock, iterations=20):
    listener(Note("left is cpu:0"))
    listener(RunStarted("net", FOLDER, 2, 10, 20, 0, 128))
    for iteration in range(1, iterations + 1):
        clock.now += 1
        listener(step(iteration, loss=3.0 - iteration / 10))
        if iteration % 10 == 0:
            listener(EvaluationProgress(100, 200))
            errors = {"top1": 0.375, "top5": 0.17}
            listener(EvaluationDone(iteration // 10, iteration, "val", 1.5, errors, 200, 4.0))
            listener(CheckpointWritten(f"{FOLDER}/checkpoints/x.safetensors", iteration, 512 * 2**20, 0.3, True))
    commands = {f"netspec eval {FOLDER}": "its errors once more", f"netspec run --resume {FOLDER} --epochs 4": "go on"}
    listener(RunFinished("finished", FOLDER, iterations, 2, 65.0, {"top1": 0.375}, commands=commands))


@pytest.fixture
def plain():
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock) as listener:
        play(listener, clock)
    return stream.getvalue().splitlines()


def test_plain_lines_at_sensible_intervals(plain):
    shown = [line for line in plain if "  iteration " in line]
    assert [line.split("iteration ")[1].split("/")[0] for line in shown] == ["1", "2", "3", "13", "20"]


def test_a_plain_line_says_everything(plain):
    line = next(line for line in plain if "iteration 13/20" in line)
    assert line == (
        "epoch 2/2  iteration 13/20  loss 1.8  top-1 error 50.0 %  top-5 error 25.0 %  rate 0.01  128 img/s  "
        "waiting for data 2 %  ETA 11.0 s  checkpoint in 7.0 s"
    )  # seven iterations of a second and one evaluation of four


def test_notes_evaluations_and_checkpoints_are_lines(plain):
    assert plain[:2] == [
        "left is cpu:0",
        f"training net: 20 iterations of 128 images, 10 an epoch; the run lies in {FOLDER}",
    ]
    assert (
        "evaluated val after epoch 1, iteration 10: loss 1.5, top-1 error 37.5 %, top-5 error 17.0 %  "
        "(200 images, centre crop, in 4.0 s)"
    ) in plain
    assert (
        f"checkpoint {FOLDER}/checkpoints/x.safetensors  (512 MiB, the best so far, training stood still for 0.3 s)"
    ) in plain


def test_the_last_words_say_what_was_learned_where_and_what_next(plain):
    assert plain[plain.index("") :] == [
        "",
        "finished after 20 iterations in 1 min 05 s",
        "learned: training loss 2.9 at first, 1.2 at the end",
        "         val: top-1 error 37.5 %, top-5 error 17.0 % over 200 images",
        f"the run lies in {FOLDER}",
        "next:",
        f"  netspec eval {FOLDER}                      its errors once more",
        f"  netspec run --resume {FOLDER} --epochs 4   go on",
    ]


def test_resuming_a_run_that_was_at_its_end_is_said():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 2, 10, 20, 20, 8))
    tracker(RunFinished("finished", FOLDER, 20, 2, 0.0, commands={"netspec run": "go on"}))
    said = lines.last_words(tracker)
    assert said[1] == "it was at its end already: finished after 0 iterations in 0.0 s"
    assert said[-2:] == ["next:", "  netspec run   go on"]


def test_a_run_whose_directory_is_gone_lies_nowhere():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 2, 10, 20, 0, 8))
    tracker(RunFinished("failed", "", 20, 2, 1.0))
    assert lines.last_words(tracker) == ["", "stopped after 20 iterations in 1.0 s"]


def test_a_step_that_is_not_finite_is_told_and_left_out_of_means():
    stream = io.StringIO()
    listener = Progress(stream, Clock())
    listener(RunStarted("net", FOLDER, 1, 10, 10, 0, 8))
    listener(step(1))
    listener(step(2, loss=float("nan"), finite=False))
    assert "iteration 2: loss or gradients were not finite; the step was left out" in stream.getvalue()
    assert listener.tracker.loss == 2.0


def test_long_evaluations_show_where_they_are():
    stream, clock = io.StringIO(), Clock()
    listener = Progress(stream, clock)
    for images in range(0, 500, 100):
        listener(EvaluationProgress(images, 500))
        clock.now += 6
    assert stream.getvalue() == "evaluating: 200 of 500 images\nevaluating: 400 of 500 images\n"


def test_a_pipe_that_nobody_reads_does_not_stop_the_run():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    play(Progress(Closed(), Clock()), Clock())


def live(width, **options):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, highlight=False, **options)
    clock = Clock()
    with LiveProgress(console, clock) as listener:
        play(listener, clock, iterations=15)
        shown = listener.line()
    return stream.getvalue(), shown, listener


def test_the_live_line_goes_and_the_rest_scrolls():
    text, last, _ = live(120)
    assert last.plain == ""  # nothing after the last words
    assert "evaluated val after epoch 1, iteration 10" in text
    assert "\x1b[?25h" in text  # the cursor is back


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
def test_the_live_line_fits_the_terminal(width):
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 90, 10_000, 900_000, 0, 128))
    tracker(step(123_456, per_epoch=10_000))
    text = fitted(0.5, lines.progress_fields(tracker), width - 1)
    assert len(text.plain) < width
    assert "loss 2" in text.plain
    if width >= 200:
        assert text.plain.startswith("#" * 8 + "." * 8) and "waiting for data 2 %" in text.plain


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text, _, _ = live(120)
    assert "\x1b[36m" not in text and "\x1b[3" not in text


def test_not_a_terminal_means_plain_lines():
    assert type(progress.progress()) is Progress
    assert type(progress.progress(stderr=True)) is Progress


def test_the_first_iteration_of_a_process_says_nothing_about_time():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 1, 10, 10, 0, 128))
    tracker(step(1, seconds=60.0))
    assert tracker.remaining == 9 * 60
    tracker(step(2, seconds=1.0))
    assert tracker.remaining == 8 and tracker.images_per_second == 128


def test_the_next_checkpoint_comes_by_the_clock_or_with_the_epoch():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 1, 100, 100, 0, 128, checkpoint_every=30.0))
    for iteration in range(1, 11):
        tracker(step(iteration, per_epoch=100))
    assert tracker.to_checkpoint == 20
    tracker(CheckpointWritten("x", 10, 1, 0.0))
    assert tracker.to_checkpoint == 30
    for iteration in range(11, 91):
        tracker(step(iteration, per_epoch=100))
    tracker(CheckpointWritten("x", 90, 1, 0.0))
    assert tracker.to_checkpoint == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.97, "1 min 00 s"), (3599.6, "1 h 00 min"), (90_000, "1 d 01 h")],
)
def test_durations(seconds, text):
    assert units.duration(seconds) == text


def test_numbers():
    scaled = {0: "", 999: "999", 1e3: "1.00 k", 999_999: "1.00 M", 1.4344e9: "1.43 G"}
    assert {value: units.scaled(value) for value in scaled} == scaled
    size = {0: "", 16: "16 B", 1000: "1000 B", 2**20: "1.00 MiB", 488 * 2**20: "488 MiB"}
    assert {value: units.size(value) for value in size} == size
    assert units.errors({"top1": 0.5, "mine": 0.25}) == "top-1 error 50.0 %, mine error 25.0 %"
