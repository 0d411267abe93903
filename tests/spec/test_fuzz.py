"""Hypothesis over specs and --set: a spec, or an error of which each problem has file, line and column.

Specs are shipped ones with pieces of them changed, planned as ``netspec validate`` does. Where a change does harm,
hypothesis finds the smallest one.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from places import ROOT
from spec_texts import PIECES

from netspec.errors import NetspecError, SpecError
from netspec.planning import check
from netspec.spec import loads, render

FOLDER = ROOT / "specs"
SPECS = {name: (FOLDER / f"{name}.yaml").read_text() for name in ("quickstart", "alexnet")}
WORDS = sorted({word for text in SPECS.values() for word in re.findall(r"[\w.]+|[^\w\s]", text)})
PLACE = re.compile(r"[^:\n]+:\d+:\d+: .")

piece = st.sampled_from(PIECES) | st.sampled_from(WORDS) | st.text(max_size=4)


def judged(text: str, overrides: tuple[str, ...] = ()) -> bool:
    """Whether the text is a good spec; anything but a Spec or an error with places fails."""
    try:
        check(loads(text, "fuzz.yaml", overrides))
    except SpecError as error:
        assert error.problems
        assert all(problem.mark is not None for problem in error.problems), error
        assert all(PLACE.match(f"{problem.mark}: {problem.message}") for problem in error.problems), error
        render(error).encode()
        return False
    return True


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A shipped spec with up to four words exchanged, lost or doubled, lines moved, or its end cut off."""
    text = SPECS[draw(st.sampled_from(["quickstart", "quickstart", "alexnet"]))]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["word", "word", "word", "characters", "line", "cut"]))
        if kind == "line":
            lines = text.split("\n")
            line = lines.pop(draw(st.integers(0, len(lines) - 1)))
            for _ in range(draw(st.integers(0, 2))):
                lines.insert(draw(st.integers(0, len(lines))), " " * draw(st.integers(0, 3)) + line)
            text = "\n".join(lines)
            continue
        words = list(re.finditer(r"[\w.]+|[^\w\s]", text)) if kind == "word" else []
        if words:
            start, stop = words[draw(st.integers(0, len(words) - 1))].span()
        else:
            start = draw(st.integers(0, len(text)))
            stop = len(text) if kind == "cut" else min(len(text), start + draw(st.integers(0, 3)))
        text = text[:start] + draw(piece) + text[stop:]
    return text


@given(mutated())
def test_mutated_specs(text: str) -> None:
    judged(text)


KEYS = st.sampled_from([
    "netspec", "name", "devices", "inputs", "image", "label", "shape", "dtype", "defaults", "conv", "init", "type",
    "std", "layers", "conv1", "conv2", "fc3", "loss", "device", "filters", "size", "pad", "rate", "params", "weight",
    "share", "split", "connect", "from", "train", "batch", "epochs", "seed", "sgd", "learning_rate", "schedule", "at",
    "cpu", "data", "source", "images", "scale", "resize", "0", "1", "-1", "",
])  # fmt: skip
VALUE = piece | st.sampled_from(
    ["{}", "[]", "[1, 2]", "[left, right]", "{type: he}", "{from: pool2, connect: all}", "[conv1, conv2]", "{rate: 0}"]
)
ASSIGNMENT = st.builds(
    lambda path, sign, value: ".".join(path) + sign + value,
    st.lists(KEYS | st.text(max_size=3), min_size=1, max_size=5),
    st.sampled_from(["=", "=", "=", "=", "==", ""]),
    VALUE,
)


@given(st.lists(ASSIGNMENT, min_size=1, max_size=3))
def test_assignments(assignments: list[str]) -> None:
    try:
        judged(SPECS["quickstart"], tuple(assignments))
    except SpecError:
        raise
    except NetspecError as error:
        assert "--set" in str(error), error


def test_good_ones_are_among_them() -> None:
    assert judged(SPECS["quickstart"], ("layers.conv1.filters=64", "train.batch=32"))
    assert not judged(SPECS["quickstart"].replace("filters: 64", "filters: 63"))
