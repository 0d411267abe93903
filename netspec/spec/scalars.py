"""Plain scalars as YAML 1.2's core schema reads them: ``1e-4`` is a float, ``no`` a string, ``012`` twelve.

PyYAML resolves by YAML 1.1, where ``1e-4`` is a string, ``on`` true and ``012`` ten.
Source: YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import re

Value = None | bool | int | float | str

MAX_INT = 2**63 - 1

_WORDS: dict[str, Value] = {word: None for word in ("", "~", "null", "Null", "NULL")}
_WORDS.update({word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")})
_INT = re.compile(r"(?P<dec>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> Value:
    """The value of a plain (unquoted) scalar.

    Raises OverflowError when a whole number does not fit 64 bits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if match := _INT.fullmatch(text):
        return _whole(match)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _whole(match: re.Match[str]) -> int:
    digits = match[match.lastgroup or "dec"]
    if len(digits) > 64:  # int() itself refuses thousands of digits
        raise OverflowError
    value = int(digits, {"dec": 10, "oct": 8, "hex": 16}[match.lastgroup or "dec"])
    if abs(value) > MAX_INT:
        raise OverflowError
    return value


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS_OF_1_1 = frozenset("y n yes no on off true false null".split())


def text_of(value: Value) -> str:
    """The scalar as YAML text that versions 1.1 and 1.2 read alike: quoted where needed, floats as ``1.0e-05``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_1_1:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped) + '"'


def _float_text(value: float) -> str:
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    point = "" if "." in mantissa else ".0"
    sign = "" if exponent[0] in "+-" else "+"
    return f"{mantissa}{point}e{sign}{exponent}"
