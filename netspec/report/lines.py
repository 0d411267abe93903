"""The sentences of a run: one for each kind of event, and the last words."""

from __future__ import annotations

from netspec import units
from netspec.events import CheckpointWritten, EvaluationDone, IterationDone, RunFinished, RunStarted, TaskProgress
from netspec.machine.names import nearer
from netspec.report.tracker import Span, Tracker


def started(event: RunStarted) -> str:
    """What is about to be trained, and where it will lie."""
    per_epoch, total = event.iterations_per_epoch, event.total_iterations
    resumed = f", going on after iteration {event.iteration:,}" if event.iteration else ""
    plan = f"{units.many(total, 'iteration')} of {units.many(event.batch, 'image')}, {per_epoch:,} an epoch"
    place = f"; the run lies in {nearer(event.folder)}" if event.folder else ""
    return f"training {event.name}: {plan}{resumed}{place}"


def progress_fields(tracker: Tracker) -> list[tuple[int, str]]:
    """The parts of a progress line, each with a rank: where there is no room the highest goes first."""
    run, last = tracker.started, tracker.last
    if run is None or last is None:
        return []
    epochs = max(-(-run.total_iterations // max(run.iterations_per_epoch, 1)), last.epoch)
    parts = [(5, f"epoch {last.epoch}/{epochs}"), (1, f"iteration {last.iteration:,}/{run.total_iterations:,}")]
    if tracker.loss is not None:
        parts.append((0, f"loss {units.significant(tracker.loss)}"))
    for rank, (name, value) in enumerate(tracker.errors.items(), start=2):
        parts.append((rank * 2, units.errors({name: value}, run.metrics)))
    parts.append((7, f"rate {units.significant(last.learning_rate, 3)}"))
    parts.append((3, f"{units.rate(tracker.images_per_second)} img/s"))
    parts.append((8, f"waiting for data {units.percent(tracker.waited, 0)}"))
    if tracker.remaining is not None:
        parts.append((2, f"ETA {units.duration(tracker.remaining)}"))
    if tracker.to_checkpoint is not None:
        parts.append((9, f"checkpoint in {units.duration(tracker.to_checkpoint)}"))
    return parts


def under_way(tracker: Tracker, seconds: float) -> str:
    """An iteration that takes long, ``seconds`` by now; nothing while none is."""
    run, last = tracker.started, tracker.last
    if run is None or tracker.finished is not None:
        return ""
    done = last.iteration if last is not None else run.iteration
    return f"iteration {min(done + 1, run.total_iterations):,}/{run.total_iterations:,} for {units.duration(seconds)}"


def iteration(tracker: Tracker) -> str:
    """A progress line in full."""
    return joined(progress_fields(tracker))


def task_fields(event: TaskProgress, seconds: float) -> list[tuple[int, str]]:
    """The parts of a task's line, ranked likewise; ``seconds`` is the time since it began."""
    count = f" {event.done:,}/{event.total:,}" if event.total else f" {event.done:,}" if event.done else ""
    parts = [(0, f"{event.what}{count}"), (3, units.duration(seconds))]
    if event.even and 0 < event.done < event.total and seconds >= _JUDGED_AFTER_S:
        parts.append((2, f"ETA {units.duration(seconds / event.done * (event.total - event.done))}"))
    return [*parts, (4, f"({event.note})")] if event.note else parts


_JUDGED_AFTER_S = 1.0
"""Seconds of a task before which its speed says nothing."""


def joined(parts: list[tuple[int, str]]) -> str:
    """The parts of a line in full."""
    return "  ".join(text for _, text in parts)


def not_finite(event: IterationDone) -> str:
    """An iteration that changed nothing."""
    return f"iteration {event.iteration:,}: loss or gradients were not finite; the step was left out"


def evaluated(event: EvaluationDone) -> str:
    """Errors over a split."""
    result = ", ".join(part for part in (f"loss {event.loss:.4g}", units.errors(event.errors, event.metrics)) if part)
    where = (f"epoch {event.epoch}, " if event.epoch else "") + f"iteration {event.iteration:,}"
    views = units.views(event.views)
    some = f"{event.images:,} of " if event.broken else ""
    images = f"{some}{units.many(event.images + event.broken, 'image')}, {views}, in {units.duration(event.seconds)}"
    return f"evaluated {event.split} after {where}: {result}  ({images})"


def checkpoint(event: CheckpointWritten) -> str:
    """A checkpoint that lies whole on disk."""
    best = ", the best so far" if event.best else ""
    stall = f", training stood still for {units.duration(event.stall)}" if event.stall >= 0.05 else ""
    return f"checkpoint {nearer(event.path)}  ({units.size(event.nbytes)}{best}{stall})"


def last_words(tracker: Tracker) -> list[str]:
    """How the run ended, what was learned, where it lies, and what to type next."""
    end = tracker.finished
    if end is None:
        return []
    begin = tracker.started.iteration if tracker.started else 0
    trained = f"{units.many(end.iteration - begin, 'iteration')} in {units.duration(end.seconds)}"
    head = {"finished": "finished", "interrupted": "interrupted"}.get(end.status, "stopped")
    if _was_over(tracker, end):
        head = "it was at its end already: finished"
    why = [end.message] if end.status == "finished" and end.message else []  # that of a failure is told by who called
    lines = ["", f"{head} after {trained}", *why, *_learned(tracker)]
    if end.folder:
        lines += [f"the run lies in {nearer(end.folder)}", *_next(end)]
    return lines


def _learned(tracker: Tracker) -> list[str]:
    lines = []
    if (spans := tracker.learned) is not None:
        first, last = spans
        over = units.many(first.count, "iteration") if first.count > 1 else "iteration"
        means = f"{first.mean:.4g} in the first {over}, {last.mean:.4g} in the last"
        lines.append(f"{_verdict(first, last)}training loss {means}")
    if tracker.evaluations:
        latest = tracker.evaluations[-1]
        measured = units.errors(latest.errors or {"loss": latest.loss}, latest.metrics)
        lines.append(f"{latest.split}: {measured} over {units.many(latest.images, 'image')}")
    return lines


def _verdict(first: Span, last: Span) -> str:
    """Whether two means differ by more than twice the standard error of their difference; of too few nobody knows."""
    change, doubt = last.mean - first.mean, 2 * (first.error**2 + last.error**2) ** 0.5
    if first.count < _ENOUGH:
        return ""
    return "no learning yet: " if abs(change) <= doubt else "learned: " if change < 0 else "nothing learned: "


_ENOUGH = 3
"""Iterations of which a standard error says something."""


def _next(end: RunFinished) -> list[str]:
    width = max(map(len, end.commands), default=0)
    commands = [f"  {command:<{width}}   {why}" for command, why in end.commands.items()]
    if any(len(line) > _TERMINAL for line in commands):
        commands = [line for command, why in end.commands.items() for line in (f"  {command}", f"      {why}")]
    return ["next:", *commands] if commands else []


_TERMINAL = 80
"""Columns beyond which a terminal would break a line anywhere."""


def _was_over(tracker: Tracker, end: RunFinished) -> bool:
    """Whether a finished run was resumed with nothing more to do."""
    return end.status == "finished" and tracker.started is not None and tracker.started.iteration == end.iteration > 0
