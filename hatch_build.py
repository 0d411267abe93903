"""README.md as an index of packages shows it, where neither links within the repository nor its pictures exist.

They lead to where the sources are hosted, ``Source`` of the project's URLs; without one, links become their text and
pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+)\)")
_PICTURE = re.compile(r'(?:<p[^>]*>\s*)?<img src="(?!https?:)([^"]+)"[^>]*>(?:\s*</p>)?')


class ReadmeHook(MetadataHookInterface):
    """Gives hatchling the project's readme."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, source)}


def for_index(text: str, source: str | None) -> str:
    """The text with no link and no picture that is relative."""
    if source is None:
        return _PICTURE.sub("", _LINK.sub(r"\1", text))
    text = _LINK.sub(rf"[\1]({source}/blob/HEAD/\2)", text)
    return _PICTURE.sub(lambda found: found[0].replace(found[1], f"{source}/raw/HEAD/{found[1]}"), text)
