"""What a solver's class may say, and what is told of one that is wrong, by Python and by the contract suite."""

from __future__ import annotations

import pytest

from netspec.check import solvers
from netspec.check.suite import outcome
from netspec.plugin import Solver, learning_rate, number


def update(w, g, rate):
    return w - rate * g


def update_two(w, g, v, rate):
    return w - rate * v, v + g


WRONG = {
    "no rate": ({"attrs": {}}, "has no 'learning_rate'"),
    "no update": ({"update": None}, r"a solver defines the function update\(w, g, ...\)"),
    "self": ({"update": lambda self, w, g: w}, "leave out self"),
    "too few": ({"update": lambda w: w}, "takes w, g first"),
    "unknown name": ({"update": lambda w, g, speed: w}, "'speed' is none of rate"),
    "taken": ({"state": ("average",), "update": update_two}, "nothing can be called 'average'"),
    "twice": ({"state": ("a", "a"), "update": update_two}, "nothing can be called 'a'"),
    "text": ({"state": "m", "update": update_two}, "must be a tuple of names"),
    "clash": ({"scales": ("learning_rate",), "scale": lambda: 1.0}, "is the name of something else"),
    "scale for nothing": ({"scale": lambda rate: rate}, "scale gives nothing"),
    "no scale": ({"scales": ("one",)}, "defines the function scale"),
    "norm in update": ({"update": lambda w, g, w_norm: w}, "'w_norm' is none of rate"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_class_that_is_wrong_is_refused(fault):
    body, said = WRONG[fault]
    with pytest.raises(TypeError, match=said):
        type("Odd", (Solver,), {"update": update, **body})


def failures(cls):
    cls.type = "odd"
    results = [outcome(check, solvers.SolverSubject("odd", cls)) for check in solvers.CHECKS]
    return {result.name: result.message for result in results if result.status == "failed"}


class NoWords(Solver):
    attrs = {"learning_rate": learning_rate(0.1), "share": {"type": "number"}}

    def update(w, g, rate):
        return w - rate * g


class TooMany(Solver):
    """w = w - rate g"""

    def update(w, g, rate):
        return w - rate * g, g


class Example(Solver):
    """w = w - share g"""

    attrs = {"learning_rate": learning_rate(0.1), "share": number("Of g.", default=0.5)}
    examples = ({"shares": 1.0},)

    def update(w, g, share):
        return w - share * g


def test_the_suite_tells():
    assert "has no docstring" in failures(NoWords)["docs"]
    assert "must return w, in this order" in failures(TooMany)["results"]
    assert "sets 'shares', which is no attribute (learning_rate, share)" in failures(Example)["schema"]
