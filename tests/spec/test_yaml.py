"""The YAML reader: scalars of YAML 1.2, places, and texts that want to hurt."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from yaml_parsers import PARSERS

from netspec.errors import Problem
from netspec.spec import syntax
from netspec.spec.nodes import plain
from netspec.spec.reader import parse
from netspec.spec.scalars import resolve, text_of


def read(text: str) -> tuple[Any, list[Problem]]:
    """The plain data of a text, and its problems."""
    problems: list[Problem] = []
    node = parse(text, "x.yaml", problems)
    return (None if node is None else plain(node)), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1.0e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("-1.", -1.0), ("+1", 1), ("-0", 0),
        ("012", 12), ("0o14", 12), ("0x1F", 31), ("0b1", "0b1"), ("1_000", "1_000"), ("12:30:45", "12:30:45"),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("FALSE", False),
        ("tRue", "tRue"), ("null", None), ("~", None), ("", None), ("nUll", "nUll"), (".inf", math.inf),
        ("-.INF", -math.inf), ("+.Inf", math.inf), ("inf", "inf"), ("1e", "1e"), ("e5", "e5"),
        ("2001-01-01", "2001-01-01"),
        ("1.5.2", "1.5.2"), ("0x", "0x"), ("0o8", "0o8"), ("--1", "--1"), ("=", "="), (".", "."),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: Any) -> None:
    assert (type(resolve(text)), resolve(text)) == (type(value), value)


def test_nan() -> None:
    assert math.isnan(float(str(resolve(".NaN"))))


NUMBERS = [None, True, False, 0, -12, 10**15, 0.1, 1e-5, 1e300, -2.5e-7, 1e16]
TEXTS = [
    "",
    "no",
    "y",
    "null",
    "1e-4",
    "12",
    "a b",
    "a: b",
    "- x",
    "é",
    "\u2028",
    "\x00\x07",
    'q"\\',
    "😀",
    "#",
    "x.y/z",
]


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS])
def test_text_reads_alike_in_both_versions(value: Any) -> None:
    for data in (read(f"a: {text_of(value)}")[0], yaml.safe_load(f"a: {text_of(value)}")):
        assert (type(data["a"]), data["a"]) == (type(value), value)


def test_quoted_scalars_are_texts() -> None:
    assert read("{a: '1', b: \"no\", c: ''}")[0] == {"a": "1", "b": "no", "c": ""}


def test_keys_are_words_as_written() -> None:
    assert read("{on: 1, 1: 2, true: 3, 1.0: 4}")[0] == {"on": 1, "1": 2, "true": 3, "1.0": 4}


def test_aliases_and_merge_keys() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {x: 5, z: 6}]}\nd: *a\n"
    assert read(text)[0] == yaml.safe_load(text)


def test_places_are_of_characters() -> None:
    problems: list[Problem] = []
    node = parse("a: 1\nb:\n  - {'ü': 😀, c: d}\n", "x.yaml", problems)
    item = node.entries["b"].value.items[0]  # type: ignore[union-attr]
    mark = item.entries["c"].value.mark  # type: ignore[union-attr]
    assert (str(mark), mark.width, mark.text) == ("x.yaml:3:17", 1, "  - {'ü': 😀, c: d}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "x.yaml:1:43: nested deeper than 40 levels"),
        ("- " * 100_000, "x.yaml:1:81: nested deeper than 40 levels"),
        ("a: " + "9" * 10_000, "x.yaml:1:4: whole number too large"),
        ("a: 0x" + "f" * 10_000, "x.yaml:1:4: whole number too large"),
        ("a: &a [1, *a]", "x.yaml:1:11: the alias '*a' refers to what it stands in"),
        ("{a: 1, a: 2}", "x.yaml:1:8: key 'a' is written twice (first at line 1; keep one of them)"),
        ("? [a]\n: b", "x.yaml:1:3: a key must be a word"),
        ("? {a: b}\n: b", "x.yaml:1:3: a key must be a word"),
        ("a: !!int 3", "x.yaml:1:4: tags such as '!!int' are not allowed"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: a second YAML document begins here"),
        ("a: 1\n...\nb: 2", "x.yaml:3:1: text after the end of the document"),
        ("a: \x00", "x.yaml:1:4: control character U+0000"),
        ("%YAML 3.0\n---\na: 1", "x.yaml:1:1: YAML syntax: "),
        ("a: [1, 2", "x.yaml:1:4: a list in brackets is not closed here"),
        ("a: {b: 1", "x.yaml:1:4: a map in braces is not closed here"),
        ("a: 'b", "x.yaml:1:4: a text in quotes does not end"),
        ('a: "b\n---\nc: "d"', "x.yaml:2:1: a text in quotes does not end (opened at line 1)"),
        ("a: b\n\tc: d", "x.yaml:2:1: a tab where YAML wants spaces"),
        ("a:\n  b:\n\t- c", "x.yaml:3:1: a tab where YAML wants spaces"),
        ("a: @b", "x.yaml:1:4: no text begins with '@'"),
        ("a: b: c", "x.yaml:1:5: a second ':' on one line"),
        ("a: 1\n  b: 2", "x.yaml:2:4: this line does not fit the ones above"),
        ("- a\nb: 1", "x.yaml:2:1: this line does not fit the ones above"),
        ("a: 1\nb\nc: 2", "x.yaml:2:1: a key without ':'"),
        ("a: 1\n'b'\nc: 2", "x.yaml:2:1: a key without ':'"),
        ("a: ]", "x.yaml:1:4: ']' closes nothing"),
        ("a: [1,\n", "x.yaml:2:1: the text ends before the value"),
        ("a: & b", "x.yaml:1:5: YAML syntax: "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("parser", PARSERS)
def test_refused(text: str, message: str, parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "_LOADER", parser)
    problems = read(text)[1]
    assert problems[0].headline().startswith(message)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("text", ['a: "b\\qc"', 'a: "b\\xzz"'])
def test_an_unknown_escape(text: str, parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsers point at its backslash or behind it."""
    monkeypatch.setattr(syntax, "_LOADER", parser)
    problem = read(text)[1][0]
    assert (problem.message, problem.mark.line) == ("no escape of YAML", 1)
    assert problem.mark.column in (6, 7, 8)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[" * 70, "1:41"),
        ("{" * 70, "1:41"),
        ("a: " + "{b: " * 70, "1:160"),
        ("é: " + "[ü, " * 70, "1:160"),
        ("x: 1\r\na: " + "[" * 70, "2:43"),
        ("[\n" * 70, "41:1"),
        ("- " * 70, "1:81"),
        ("? " * 70, "1:81"),
        ("".join(f"{' ' * i}a:\n" for i in range(70)), "41:41"),
        ("[" * 70 + "]" * 70, "1:41"),
    ],
)
def test_nested_too_deep(text: str, place: str, parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the parser has a limit of its own, and reads ahead of the events that it gives."""
    monkeypatch.setattr(syntax, "_LOADER", parser)
    problems = read(text)[1]
    assert [problem.headline() for problem in problems] == [
        f"x.yaml:{place}: nested deeper than 40 levels (a spec needs no more than a few)"
    ]


@pytest.mark.parametrize("parser", PARSERS)
def test_a_fault_before_the_depth_is_told(parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "_LOADER", parser)
    assert read("a: b: " + "[" * 30)[1][0].headline().startswith("x.yaml:1:5: a second ':'")


def test_multiplying_aliases_stop() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    assert read(text)[1][0].message == "more than 100000 values"
