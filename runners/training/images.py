"""The images of a run: opened, checked against the network, and read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netspec.data.dataset import Dataset, check_classes, open_dataset
from netspec.data.pipeline import Batch, Pipeline
from netspec.data.workers.pool import workers_note
from netspec.errors import NetspecError
from netspec.planning import build
from netspec.runners.execution.trace import Trace
from netspec.runners.training import resume
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import check_schedule, input_names
from netspec.runners.training.prefetch import Batches
from netspec.runners.training.resume import Origin
from netspec.schedules import make_schedule
from netspec.spec.types import Spec


@dataclass(slots=True)
class Images:
    """The images of a run."""

    source: Dataset
    train: Pipeline
    val: Pipeline | None
    prints: Mapping[str, Any]

    def close(self) -> None:
        """End the workers."""
        self.train.close()
        if self.val:
            self.val.close()


class TracedBatches:
    """A pipeline whose handing over of batches shows in a trace: how long each was waited for, and which it was."""

    def __init__(self, pipeline: Pipeline, trace: Trace, name: str) -> None:
        self.pipeline, self.trace, self.name = pipeline, trace, name
        self.batches, self.split = pipeline.batches, pipeline.split

    @property
    def broken(self) -> list[tuple[str, str]]:
        """As the pipeline's."""
        return self.pipeline.broken

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """As the pipeline's."""
        began = self.trace.now()
        for batch in self.pipeline.epoch(epoch, start):
            details = {"epoch": epoch, "valid": batch.valid, "waited_ms": batch.waited * 1e3}
            self.trace.span("host", f"{self.name} data", f"batch {batch.number}", began, details, "data")
            yield batch
            began = self.trace.now()


def traced(pipeline: Pipeline, trace: Trace | None, name: str) -> Batches:
    """The pipeline, in a trace if there is one."""
    return TracedBatches(pipeline, trace, name) if trace else pipeline


def open_images(spec: Spec, workers: int | None, journal: Journal, origin: Origin | None) -> Images:
    """Open the images and check that they suit the network and, in a resumed run, are the same."""
    source = open_dataset(spec.data, spec.train.seed)
    for note in source.notes:
        journal.note(note)
    journal.note(workers_note(spec.data.workers if workers is None else workers))
    journal.note(check_classes(source, count_outputs(spec)))
    check_schedule(make_schedule(spec.train.schedule), spec, source.val is not None)
    prints = resume.fingerprint(source)
    if origin is not None:
        resume.check_data(origin.record, prints, source)
    shape = spec.inputs[input_names(spec)[0]].shape
    centre = replace(spec.data, views=1)  # ten views an epoch would cost more than they tell
    rest = (spec.train.batch, shape, spec.train.seed, workers)
    train = Pipeline(source.train, centre, "train", *rest)
    return Images(source, train, Pipeline(source.val, centre, "val", *rest) if source.val else None, prints)


def count_outputs(spec: Spec) -> int:
    """How many classes the network tells apart."""
    plan = build(spec, "predict", 1)
    if plan.probs is None:
        raise NetspecError(f"{spec.name}: no layer gives probabilities; add a softmax_loss")
    classes: int = plan.buffers[plan.probs].shape[-1]
    return classes
