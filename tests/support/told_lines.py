"""Mistakes in the layers of tests/plugins: a comment "told" marks a line that the message on a layer must name.

It stands in the layer's class, or, as "told in TYPE", elsewhere in its file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from places import PLUGINS

from netspec.check import run


def layers_of(name: str) -> list[str]:
    """The types that a file of plugins registers."""
    return re.findall(r'@register\("(\w+)"\)', (PLUGINS / f"{name}.py").read_text())


def marked(file: Path, layer_type: str) -> Iterator[str]:
    """The marked lines of a layer, ``file:line``."""
    text = file.read_text()
    classes = [one for one in ast.parse(text).body if isinstance(one, ast.ClassDef) and one.decorator_list]
    own = next(one for one in classes if ast.unparse(one.decorator_list[0]) == f"register('{layer_type}')")
    for number, line in enumerate(text.splitlines(), 1):
        inside = own.lineno <= number <= (own.end_lineno or 0)
        if (inside and line.endswith("# told")) or line.endswith(f"# told in {layer_type}"):
            yield f"{file}:{number}"


def assert_told(name: str, layer_type: str, check: str, words: str) -> None:
    """Of all checks this one fails, with these words and each marked line, at least one of the file."""
    file = PLUGINS / f"{name}.py"
    failed = [result for result in run(layer_type) if result.status == "failed"]
    assert [result.name for result in failed] == [check], failed
    (message,) = (result.message for result in failed)
    assert words in message, message
    missing = [place for place in marked(file, layer_type) if not re.search(rf"{re.escape(place)}\b", message)]
    assert missing == [], message
    assert f"{file}:" in message
