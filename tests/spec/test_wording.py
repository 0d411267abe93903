"""What a schema asks for, in words."""

from __future__ import annotations

import pytest

from netspec.spec.wording import describe

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"enum": ["off", False, None]}, "one of off, false, null"),
        ({"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}, "a text, or a list of them"),
        (
            {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}]},
            "a text, or a list of 2 of them",
        ),
        ({"type": "array", "items": {"$ref": "#/$defs/layer"}}, "a list of maps"),
    ],
)
def test_alternatives_lists_and_constants_are_told_as_yaml_has_them(schema: dict[str, object], words: str) -> None:
    assert describe(schema) == words
