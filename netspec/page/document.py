"""HTML from plain parts: a pure function of them, with everything that comes from outside escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from netspec.errors import printable

_PAPER = 6.9
"""Inches of a page of paper between its margins."""
_MEDIA = {"svg": "image/svg+xml", "jpeg": "image/jpeg"}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser lets the page do: show its own pictures in its own style, and nothing else."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading; ``anchor`` is its name in links, ``body`` HTML."""

    anchor: str
    title: str
    body: str


def document(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page. ``title`` and ``lead`` are plain text."""
    links = "".join(f'<li><a href="#{one.anchor}">{text(one.title)}</a></li>' for one in sections)
    parts = [
        f'<section aria-labelledby="{one.anchor}"><h2 id="{one.anchor}">{text(one.title)}</h2>\n{one.body}\n</section>'
        for one in sections
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>",
            f"<style>\n{(files('netspec.page') / 'page.css').read_text('utf-8')}</style></head>",
            f'<body><header><h1>{text(title)}</h1><p class="lead">{text(lead)}</p>',
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>',
            *parts,
            "</main></body></html>\n",
        ]
    )


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


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> str:
    """A table that scrolls by itself where a screen is narrow; ``right`` are aligned right."""
    aligned = [' class="right"' if name in set(right) else "" for name in columns]
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
