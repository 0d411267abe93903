"""Batches over the ranks of a replica: who reads none knows what counts, and those who read have read the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from rank_threads import in_threads

from netspec.data.pipeline import Batch
from netspec.errors import NetspecError
from netspec.runners.training.shared_batches import SharedBatches, Unread


def read(*batches):
    """A pipeline of batches of these images; -1: none."""
    rows = [np.array(batch, np.int64) for batch in batches]
    made = [
        Batch(np.zeros((4, 1)), np.zeros(4, np.int32), indices, int((indices >= 0).sum()), number, 0.0, lambda: None)
        for number, indices in enumerate(rows)
    ]
    own = {"batches": len(made), "split": range(8), "broken": ()}
    return SimpleNamespace(**own, epoch=lambda epoch, start=0: iter(made[start:]))


def in_each(*pipelines):
    """How many rows count in each batch of an epoch, or what is raised, by rank."""

    def of(transport):
        try:
            return [batch.valid for batch in SharedBatches(pipelines[transport.rank], transport).epoch(0)]
        except NetspecError as error:
            return str(error)

    return in_threads(len(pipelines), of)


def test_who_reads_none_knows_how_many_rows_count():
    unread = Unread(range(8), 4, 1, False)
    assert unread.batches == 2
    assert in_each(unread, read([0, 1, 3, -1], [4, 5, 6, 7]), unread) == [[3, 4]] * 3


def test_who_has_read_other_images_is_named_on_all():
    found = in_each(read([0, 1, 2, 3]), Unread(range(4), 4, 1, False), read([0, 1, 3, -1]))
    assert found == ["rank 2 on here has read other images than rank 0 on here: one of them cannot read some"] * 3


@pytest.mark.parametrize(("training", "batches"), [(True, 2), (False, 3)])
def test_there_are_as_many_batches_as_a_pipeline_has(training, batches):
    """Of 41 images, 8 in each of two groups."""
    unread = Unread(range(41), 8, 2, training)
    assert [batch.number for batch in unread.epoch(0, 1)] == list(range(1, batches)) and unread.batches == batches


def test_too_few_images_are_refused():
    with pytest.raises(NetspecError, match="cannot fill a batch of 16"):
        Unread(range(9), 8, 2, True)
