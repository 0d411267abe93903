"""What the terminal shows of a run, from events alone."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from netspec import units
from netspec.events import (
    CheckpointWritten,
    EvaluationDone,
    EvaluationProgress,
    IterationDone,
    Note,
    RunFinished,
    RunStarted,
    TaskProgress,
)
from netspec.report import lines, progress
from netspec.report.progress import InPlace, LiveProgress, Progress, fitted
from netspec.report.tracker import Tasks, Tracker

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
        "waiting for data 2 %  ETA 11.3 s  checkpoint in 7.0 s"
    )  # seven iterations of a second, an evaluation of four, a checkpoint of 0.3


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
        "learned: training loss 2.7 in the first 5 iterations, 1.2 in the last",
        "val: top-1 error 37.5 %, top-5 error 17.0 % over 200 images",
        f"the run lies in {FOLDER}",
        "next:",
        *(f"  netspec eval {FOLDER}", "      its errors once more"),
        *(f"  netspec run --resume {FOLDER} --epochs 4", "      go on"),
    ]


def test_resuming_a_run_that_was_at_its_end_is_said():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 2, 10, 20, 20, 8))
    tracker(RunFinished("finished", FOLDER, 20, 2, 0.0, commands={"netspec run": "go on"}))
    said = lines.last_words(tracker)
    assert said[1] == "it was at its end already: finished after 0 iterations in 0.0 s"
    assert said[-2:] == ["next:", "  netspec run   go on"]


def test_a_command_that_fills_a_line_has_its_reason_below():
    tracker, command = Tracker(), f"netspec eval {70 * 'x'}"
    tracker(RunFinished("finished", FOLDER, 20, 2, 0.0, commands={command: "errors"}))
    assert lines.last_words(tracker)[-2:] == [f"  {command}", "      errors"]


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
    assert stream.getvalue().splitlines() == [
        "evaluating images 100/500  6.0 s  ETA 24.0 s",
        "evaluating images 300/500  18.0 s  ETA 12.0 s",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("kind", "at"), [(io.StringIO, [2, 12]), (Terminal, [2, 4, 6, 8, 10, 12])])
def test_a_task_without_news_has_a_line_after_two_seconds_and_then_at_intervals(kind, at):
    """Every two seconds on a terminal that can do no better, every ten in a file."""
    stream, clock = kind(), Clock()
    listener = Progress(stream, clock)
    listener(TaskProgress("compiling kernels", 0, 31, "once: kept in ~/.cache/netspec", even=False))
    for second in range(13):
        clock.now = float(second)
        listener.tick()
    lines = stream.getvalue().splitlines()
    assert lines == [f"compiling kernels 0/31  {second}.0 s  (once: kept in ~/.cache/netspec)" for second in at]


def test_a_task_that_is_over_soon_has_no_line():
    stream, clock = io.StringIO(), Clock()
    listener = Progress(stream, clock)
    listener(TaskProgress("finding images", 0, 0))
    clock.now = 1.9
    listener(TaskProgress("finding images", 1000, 0, over=True))
    clock.now = 5.0
    listener.tick()
    assert stream.getvalue() == ""


def test_the_inner_one_of_two_tasks_is_shown_and_then_the_outer_one_again():
    clock = Clock()
    tasks = Tasks(clock)
    tasks(TaskProgress("timing", 1, 3))
    clock.now = 1.0
    tasks(TaskProgress("compiling", 0, 2))
    clock.now = 3.0
    event, seconds = tasks.current
    assert (event.what, seconds) == ("compiling", 2.0)
    tasks(TaskProgress("compiling", 2, 2, over=True))
    event, seconds = tasks.current
    assert (event.what, event.done, seconds) == ("timing", 1, 3.0)


def test_an_iteration_that_takes_long_has_lines():
    stream, clock = io.StringIO(), Clock()
    listener = Progress(stream, clock)
    listener(RunStarted("net", FOLDER, 1, 10, 10, 0, 8))
    for clock.now in (1.0, 2.0, 3.0, 12.0):
        listener.tick()
    assert stream.getvalue().splitlines()[1:] == ["iteration 1/10 for 2.0 s", "iteration 1/10 for 12.0 s"]


def test_a_notebook_renews_one_line():
    stream, clock = io.StringIO(), Clock()
    listener = InPlace(stream, clock)
    listener(TaskProgress("images", 0, 4))
    clock.now = 2.0
    listener(TaskProgress("images", 2, 4))
    listener(Note("a note"))
    listener.__exit__(None, None, None)
    bar = "\u2501" * 8 + "\u00b7" * 8 + "  images 2/4  2.0 s  ETA 2.0 s"
    assert stream.getvalue() == f"\r\r{bar}\r{' ' * len(bar)}\ra note\n"


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
        shown = listener.shown()
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
    line = "".join(fitted(0.5, lines.progress_fields(tracker), width - 1))
    assert len(line) < width
    assert "loss 2" in line
    if width >= 200:
        assert line.startswith("#" * 8 + "." * 8) and "waiting for data 2 %" in line


@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_line_of_a_task_fits_the_terminal(width):
    event = TaskProgress("compiling kernels", 12, 31, "once: kept in ~/.cache/netspec", even=False)
    line = "".join(fitted(12 / 31, lines.task_fields(event, 4.0), width - 1))
    assert len(line) < width
    assert line.endswith({20: "compiling kernels 1", 40: "..  compiling kernels 12/31", 80: "netspec)"}[width])


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text, _, _ = live(120)
    assert "\x1b[36m" not in text and "\x1b[3" not in text


def test_a_bar_shows_how_much_is_done_without_colours():
    done, left, _ = fitted(0.25, [(0, "images 1/4")], 79)
    assert len(done) == 2 and len(left) == 6 and not set(done) & set(left)


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


def test_the_time_that_is_left_counts_evaluations_and_checkpoints():
    """Four epochs of ten seconds; training stands still for an evaluation of 4 s and a checkpoint of 0.5 s an epoch."""
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 4, 10, 40, 0, 128))
    for iteration in range(1, 11):
        tracker(step(iteration))
    assert tracker.remaining == 30  # none has been measured yet
    tracker(EvaluationDone(1, 10, "val", 1.5, {}, 200, 4.0))
    tracker(CheckpointWritten("x", 10, 1, 0.5, seconds=3.0))
    assert tracker.remaining == 30 + 3 * 4 + 2 * 0.5 + 3.0  # the last one is waited for
    for iteration in range(11, 41):
        tracker(step(iteration))
    assert tracker.remaining == 3 * 4 + 3.0


def test_checkpoints_by_the_clock_count_in_the_time_that_is_left():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 1, 100, 100, 0, 128, checkpoint_every=10.0))
    for iteration in range(1, 11):
        tracker(step(iteration, per_epoch=100))
    tracker(CheckpointWritten("x", 10, 1, 0.5, seconds=1.0))
    assert tracker.remaining == 90 + 8 * 0.5 + 1.0


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([7.083, 7.2, 7.0, 7.09, 7.1, 7.05, 7.12, 7.06, 7.2, 7.0, 7.097, 7.1], "no learning yet: training loss"),
        ([5.0, 4.9, 5.1, 4.0, 3.0, 2.5, 2.2, 2.1, 2.05, 2.0, 2.1, 1.9], "learned: training loss 5 in the first 3"),
        ([1.0, 1.1, 0.9, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.1, 2.9], "nothing learned: training loss 1 in the"),
        ([3.0, 2.0], "training loss 3 in the first iteration, 2 in the last"),
    ],
)
def test_what_was_learned_is_a_comparison_of_equal_spans(losses, said):
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 1, 100, len(losses), 0, 8))
    for iteration, loss in enumerate(losses, 1):
        tracker(step(iteration, loss=loss))
    tracker(RunFinished("finished", FOLDER, len(losses), 1, 1.0))
    assert lines.last_words(tracker)[2].startswith(said)


def test_of_one_iteration_nothing_is_said_to_be_learned():
    tracker = Tracker()
    tracker(RunStarted("net", FOLDER, 1, 100, 1, 0, 8))
    tracker(step(1))
    tracker(RunFinished("finished", FOLDER, 1, 1, 1.0))
    assert not any("loss" in line for line in lines.last_words(tracker))


def test_of_several_runs_the_present_one_is_followed():
    tracker = Tracker()
    play(tracker, Clock())
    tracker(RunStarted("net", FOLDER, 2, 10, 20, 0, 8))
    assert tracker.last is None and tracker.finished is None and not tracker.evaluations


def test_python_shows_progress_unless_it_is_told_not_to(monkeypatch):
    """In a terminal; where a listener is given, that is whom the events are for."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "dumb")
    heard = []
    for listener, show in ((None, None), (None, False), (heard.append, None), (heard.append, True)):
        with progress.heard(listener, show) as hear:
            if hear is not None:
                hear(Note(f"{listener is None} {show}"))
    assert stream.getvalue() == "True None\nFalse True\n"
    assert heard == [Note("False None"), Note("False True")]


def test_python_shows_nothing_in_a_script_without_a_terminal(capsys):
    with progress.heard(None, None) as hear:
        assert hear is None
    with progress.heard(None, True) as hear:
        hear(Note("asked for"))
    assert capsys.readouterr().err == "asked for\n"


def test_a_notebook_is_told_by_its_kernel(monkeypatch, capsys):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with progress.heard(None, None) as hear:
        hear(Note("in a cell"))
    assert capsys.readouterr().out.endswith("in a cell\n")


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
    milliseconds = {1050.0: "1,050 ms", 999.6: "1,000 ms", 12.34: "12.3 ms", 0.03123: "0.0312 ms", 0.0: "0 ms"}
    assert {value: units.milliseconds(value) for value in milliseconds} == milliseconds
    assert units.errors({"top1": 0.5, "mine": 0.25}) == "top-1 error 50.0 %, mine error 25.0 %"
