"""Layer types for the tests of specs, independent of the built-in ones."""

from __future__ import annotations

from typing import Any

from netspec.contract.attrs import boolean, choice, initialiser, integer, number, padding, pair


def fake(**attrs: Any) -> type:
    """A layer type with these attributes and nothing else."""
    return type("Fake", (), {"attrs": attrs})


TYPES = {
    "conv": fake(
        filters=integer(minimum=1),
        size=pair(minimum=1),
        stride=pair(default=1, minimum=1),
        pad=padding(),
        groups=integer(default=1, minimum=1),
        rounding=choice("floor", "ceil", default="floor"),
        bias=boolean(default=True),
        init=initialiser(default={"type": "gaussian", "std": 0.01}),
        bias_init=number(default=0.0),
    ),
    "dense": fake(units=integer(minimum=1), init=initialiser(default={"type": "xavier"})),
    "pool": fake(mode=choice("max", "average"), size=pair(minimum=1), stride=pair(default=1, minimum=1)),
    "relu": fake(),
    "softmax_loss": fake(),
}
