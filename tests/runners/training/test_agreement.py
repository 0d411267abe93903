"""What the processes of a run hold, and decide, alike; threads stand for them."""

from types import SimpleNamespace

import numpy as np
import pytest
from rank_threads import in_threads

from netspec.errors import NetspecError
from netspec.runners.training.agreement import Agreement, compared
from netspec.runners.transport.crew import crew_of


def in_each(size, work):
    """What each of so many ranks returns, or raises."""

    def of(transport):
        try:
            return work(transport)
        except NetspecError as error:
            return error

    return in_threads(size, of)


def holding(values):
    """A store, as far as it is asked."""
    return SimpleNamespace(parts=lambda: {name: np.float32([value]) for name, value in values.items()})


def agreement(transport, code=0, each=1, answering=0):
    """Of a crew in groups of so many ranks."""
    return Agreement(crew_of(transport, each), interrupts(code), answering)


def interrupts(code=0):
    return SimpleNamespace(exit_code=code)


def test_a_rank_that_has_learned_something_else_is_named_on_all():
    def work(transport):
        changed = {"a": 1.5, "b": 7.0} if transport.rank == 2 else {}
        agreement(transport).check_same(holding({"a": 1.0, "b": 2.0, "c": 3.0} | changed))

    for error in in_each(4, work):
        assert "rank 2 on here has other numbers than rank 0 on here in a, b: " in str(error)


def test_ranks_that_have_learned_the_same_go_on():
    same = holding({"a": 1.0, "b": float("nan")})
    assert in_each(2, lambda transport: agreement(transport).check_same(same)) == [None, None]


def test_a_signal_to_any_rank_stops_all_and_rank_0_says_when_to_save():
    def work(transport):
        one = agreement(transport, 143 if transport.rank == 1 else 0)
        before = one.stop()
        return before, one.due(transport.rank == 3), one.stop(), one.exit_code, one.due(True)

    assert in_each(4, work) == [(False, False, True, 143, True)] * 4


def test_groups_of_ranks_compare_what_lies_in_one_place():
    """Ranks 0 and 1 hold parts of one replica's parameters, 2 and 3 the same of another's."""

    def work(transport):
        part = {0: {"a": 1.0}, 1: {"b": 2.0}, 2: {"a": 1.0}, 3: {"b": 9.0}}[transport.rank]
        agreement(transport, each=2).check_same(holding(part))

    found = in_each(4, work)
    assert found[0] is None and found[2] is None
    for error in (found[1], found[3]):
        assert "rank 3 on here has other numbers than rank 1 on here in b: " in str(error)


@pytest.mark.parametrize("answering", [0, 1])
def test_a_group_counts_once_in_an_evaluation(answering):
    """By the rank that has the answers, and so the sums of metrics."""

    def work(transport):
        told = ({"loss": {"loss": 0.5, "count": 4.0}}, "", {"mine": transport.rank})
        return agreement(transport, each=2, answering=answering).merged(told if transport.rank < 2 else None)

    assert in_each(4, work) == [[({"loss": {"loss": 0.5, "count": 4.0}}, "", {"mine": answering})]] * 4


@pytest.mark.parametrize("rank", [1, 3])
def test_a_rank_with_other_images_is_named_on_all(rank):
    found = in_each(4, lambda transport: compared(transport, {"train": int(transport.rank == rank)}, {}))
    assert {str(error) for error in found} == {f"rank {rank} on here has other images than rank 0 on here"}


def test_a_rank_with_other_machine_code_is_told():
    told = in_each(2, lambda transport: compared(transport, {}, {"BLAS": "ab"[transport.rank]}))
    assert told[0] == told[1] and "rank 1 on here has other machine code than rank 0: BLAS" in told[0][0]
    assert told[0][1:] == ["2 processes on here"]
