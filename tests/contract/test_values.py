"""Values in their final types."""

from __future__ import annotations

from netspec.contract.attrs import padding, pair
from netspec.contract.values import settle


def test_a_whole_float_is_an_integer_wherever_one_is_asked_for() -> None:
    for schema in (padding(), pair(words=["image"])):
        assert repr(settle(schema, 3.0)) == "3"
        assert repr(settle(schema, [1.0, 2])) == "(1, 2)"
    assert settle(pair(words=["image"]), "image") == "image"
