"""The site: Sphinx reads the Markdown files where they stand, so that links are the same here and in the repository."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from generated import contents, filled

from netspec import __version__

project = "netspec"
release = version = __version__
copyright = "the authors of netspec"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "dist", "layers", "netspec", "runners", "runs", "shared", "specs", "tests"]

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("AnyImage", "AnyPath", "ArrayLike", "Listener")}
maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"netspec {__version__}"
html_copy_source = False
html_show_sphinx = False
highlight_language = "text"


def read(app: Any, page: str, source: list[str]) -> None:
    """Put what is generated where a page leaves room for it, and the table of contents behind the start page."""
    source[0] = filled(source[0])
    if page == root_doc:
        source[0] += contents(source[0])


def enter(app: Any, failure: Exception | None) -> None:
    """Lead from the folder of the site to its start page."""
    if failure is None and app.builder.name == "html":
        target = f"{root_doc}.html"
        text = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><a href="{target}">netspec</a>\n'
        (Path(app.outdir) / "index.html").write_text(text, encoding="utf-8")


def skip(app: Any, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, whose signatures have them."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def shorten(app: Any, what: str, name: str, thing: Any, options: Any, signature: Any, returns: Any) -> Any:
    """Write defaults that are made by a function as ``...``, since their reprs are no Python, and aliases as names."""
    if not signature:
        return None
    signature = re.sub(r"<(factory|function \w+[^>]*)>", "...", signature)
    return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returns


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", shorten)
    app.connect("build-finished", enter)
