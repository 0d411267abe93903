"""HTML from plain parts: a pure function of them, with everything that comes from outside escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from importlib.resources import files

from netspec.errors import printable

_PAPER = 6.9
"""Inches of a page of paper between its margins."""
_MEDIA = {"svg": "image/svg+xml", "jpeg": "image/jpeg"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser lets the page do: show its own pictures in its own style, and nothing else."""
LIVE_POLICY = f"{POLICY}; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
"""What it lets a served page do besides: fetch from its own server, by the script that comes from there."""
SCRIPT = "live.js"
"""The script of a served page; its name on the server, and in this package."""
_RELOAD_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading; ``anchor`` is its name in links, ``body`` HTML."""

    anchor: str
    title: str
    body: str

    @property
    def version(self) -> str:
        """Changes with the body."""
        return blake2b(self.body.encode(), digest_size=8).hexdigest()

    def html(self) -> str:
        """The section; ``live.js`` puts newer bodies into its last element."""
        heading = f'<h2 id="{self.anchor}">{text(self.title)}</h2>'
        body = f'<div id="{self.anchor}-body" data-version="{self.version}">\n{self.body}\n</div>'
        return f'<section aria-labelledby="{self.anchor}">{heading}{body}</section>'


def document(title: str, lead: str, sections: Sequence[Section], status: str | None = None) -> str:
    """The page. ``title`` and ``lead`` are plain text, and so is ``status``: that of a page that a server refreshes."""
    links = "".join(f'<li><a href="#{one.anchor}">{text(one.title)}</a></li>' for one in sections)
    live = status is not None
    reload = f'<noscript><meta http-equiv="refresh" content="{_RELOAD_SECONDS}"></noscript>'
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{LIVE_POLICY if live else POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>",
            f"<style>\n{packaged('page.css')}</style>",
            *([reload, f'<script src="{SCRIPT}" defer></script>'] if live else []),
            "</head>",
            '<body><a class="skip" href="#content">Skip to the content</a>',
            f'<header><h1>{text(title)}</h1><p class="lead">{text(lead)}</p>',
            *([f'<p id="status" role="status">{text(status)}</p>'] if live else []),
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main id="content" tabindex="-1">',
            *(one.html() for one in sections),
            "</main></body></html>\n",
        ]
    )


def packaged(name: str) -> str:
    """A text file that lies beside this one."""
    return (files("netspec.page") / name).read_text("utf-8")


def text(value: object) -> str:
    """Plain text as HTML; what moves cursors or turns text around is shown as an escape."""
    return escape(printable(str(value)))


def image(
    data: bytes, format: str, alt: str, caption: Iterable[str] = (), *, inches: float = 0, own_colours: bool = False
) -> str:
    """A picture inside the page, with lines below it.

    ``inches`` are its width on paper, which becomes as much of the page's as it has there (0: its own in pixels);
    ``own_colours`` says that it knows dark screens itself.
    """
    source = f"data:{_MEDIA[format]};base64,{b64encode(data).decode()}"
    look = ' class="own-colours"' if own_colours else ""
    look += f' style="width: {100 * min(inches / _PAPER, 1):.0f}%; min-width: min(100%, 24rem)"' if inches else ""
    lines = "<br>".join(map(text, caption))
    below = f"<figcaption>{lines}</figcaption>" if lines else ""
    return f'<figure><img{look} src="{source}" alt="{text(alt)}">{below}</figure>'


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Collection[str] = (), fold: Collection[str] = ()
) -> str:
    """A table that scrolls by itself where a screen is narrow; ``right`` are aligned right, ``fold`` take lines."""
    aligned = [' class="right"' if name in right else ' class="fold"' if name in fold else "" for name in columns]
    head = "".join(f'<th scope="col"{look}>{text(name)}</th>' for name, look in zip(columns, aligned, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{look}>{text(cell)}</td>' for cell, look in zip(row, aligned, strict=True))}</tr>\n"
        for row in rows
    )
    scrolls = '<div class="wide" tabindex="0" role="region" aria-label="table">'
    return f"{scrolls}<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def folded(title: str, content: str) -> str:
    """A long text that opens at a click or a key."""
    lines = "\n".join(map(text, content.splitlines()))
    return f'<details><summary>{text(title)}</summary><pre tabindex="0">{lines}</pre></details>'


def note(line: object) -> str:
    """A line on what is missing, and why."""
    return f'<p class="note">{"<br>".join(map(text, str(line).splitlines()))}</p>'
