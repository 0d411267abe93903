"""The page of a run: self-contained, whole without its images, quiet in a browser."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

from cli_tools import netspec

from netspec.page.document import Section, document, folded, image, note, table
from netspec.page.run_page import run_page

SECTIONS = (
    *("results", "data", "curves", "activations", "architecture", "filters", "predictions", "neighbours", "confusion"),
    *("timeline", "memory", "spec"),
)


class Page(HTMLParser):
    """Collects elements; fails where tags do not match."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def all(self, tag: str, name: str) -> list[str | None]:
        return [attrs.get(name) for kind, attrs in self.elements if kind == tag]


def test_it_has_every_section_and_a_link_to_each(text):
    page = Page(text)
    assert page.all("h2", "id") == list(SECTIONS)
    assert page.all("a", "href") == ["#content", *(f"#{anchor}" for anchor in SECTIONS)]
    assert page.all("main", "id") == ["content"]
    assert text.count('class="note"') == 1 and "Of the roofline: " in text


def test_time_has_the_share_of_the_roofline(text):
    rows = re.findall(r"<tr><td>(\w+)</td><td>(?:left|right)</td>.*?>(\d*)(?: %)?</td></tr>", text)
    assert {"conv1", "pool1", "fc", "loss"} <= {layer for layer, _ in rows}
    assert all(0 <= int(share) < 1000 for _, share in rows)


def test_it_is_self_contained_and_small(text):
    page = Page(text)
    assert not page.all("script", "src") and text.count("<link") == 1 and page.all("link", "href") == ["data:,"]
    sources = page.all("img", "src")
    assert len(sources) == 9 and all(source.startswith(("data:image/svg+xml", "data:image/jpeg")) for source in sources)
    assert all(page.all("img", "alt"))
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", text)
    assert len(text.encode()) < 5 * 2**20


def test_names_from_outside_are_text(text):
    assert "<b>blue" not in text and "&lt;b&gt;blue/" in text


def test_results_are_those_of_the_metrics(text):
    assert ">seed 1</td>" in text and ">seed 2</td>" in text and text.count(">finished</td>") == 2
    assert ">6 of 6</td>" in text


def test_data_are_those_of_the_run(text, runs):
    images = runs[0].parents[2] / "images"
    row = [f'<td class="right">{count}</td>' for count in (12, 6, 2, 24)]  # six batches of four images
    assert f"<td>{images}</td>{''.join(row)}" in text


def test_images_that_are_gone_are_a_line_and_the_rest_stands(runs, tmp_path):
    images = runs[0].parents[2] / "images"
    images.rename(tmp_path / "elsewhere")
    try:
        text = run_page(runs[:1])
    finally:
        (tmp_path / "elsewhere").rename(images)
    assert [anchor for anchor in Page(text).all("h2", "id")] == [one for one in SECTIONS if one != "activations"]
    assert text.count('<p class="note">') == 4 and text.count("<img") == 5
    assert all(f"{kind}: " in text for kind in ("predictions", "neighbours", "confusion"))


def test_the_command(runs, tmp_path):
    said = netspec("report", runs[0], "-o", tmp_path / "r.html", "--devices", "cpu")
    assert said.code == 0 and said.out.startswith(f"wrote {tmp_path / 'r.html'}, ")
    Page((tmp_path / "r.html").read_text())
    assert netspec("report", runs[0], "-o", tmp_path / "gone" / "r.html").code == 1
    assert netspec("report", tmp_path).err.startswith(f"error: {tmp_path}: nothing to draw")


def test_without_matplotlib_one_line_says_what_to_type(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = netspec("report", runs[0])
    assert said == (1, "", "error: figures are drawn by matplotlib: pip install 'netspec[figures]'\n")


def test_everything_is_escaped():
    evil = '"><script>alert(1)</script>\x1b\u202e'
    parts = (table([evil], [[evil]]), folded(evil, evil), note(evil), image(b"", "svg", evil, [evil]))
    page = document(evil, evil, [Section("one", evil, "".join(parts))])
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;") == 12
