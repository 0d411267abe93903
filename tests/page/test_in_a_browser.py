"""The page in Chromium: without errors, by keyboard, on narrow and dark screens, and refreshed while a run goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import ENTER, MISSING, TAB, Browser, browser
from cli_tools import started
from PIL import Image

from netspec.rundir.lock import Lock

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ACTIVE = "const one = document.activeElement; return [one.tagName, one.getAttribute('href') || one.id]"
COLOURS = "const look = getComputedStyle(document.body); return [look.backgroundColor, look.color]"


@pytest.fixture(scope="module")
def window(tmp_path_factory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def report(window, text, tmp_path) -> Browser:
    """The report, in a window that shows it anew."""
    (tmp_path / "r.html").write_text(text)
    window.size(1200)
    window.dark(False)
    window.open(f"file://{tmp_path / 'r.html'}")
    return window


@pytest.mark.parametrize("width", [1200, 390, 320])
def test_it_fits_and_nothing_complains(report, width, tmp_path):
    report.size(width)
    assert report.complaints() == []
    assert report.run("return document.documentElement.scrollWidth") <= width
    assert report.run("return [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    report.picture(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as page:
        assert width - 20 < page.width <= width and page.height > 2000 and len(page.convert("L").getcolors(256)) > 20


def test_the_keyboard_reaches_everything(report):
    report.press(TAB)
    assert report.run(ACTIVE) == ["A", "#content"]
    assert report.run("return document.activeElement.getBoundingClientRect().left") >= 0  # it comes into sight
    links = report.run("return [...document.querySelectorAll('nav a')].map(one => one.getAttribute('href'))")
    for link in links:
        report.press(TAB)
        assert report.run(ACTIVE) == ["A", link]
    report.press(ENTER)
    assert report.run("return location.hash") == links[-1]
    assert report.run("return document.querySelector(location.hash).getBoundingClientRect().top") < 900
    report.run("document.activeElement.blur(); document.querySelector('.skip').focus()")
    report.press(ENTER)
    assert report.run(ACTIVE) == ["MAIN", "content"]
    report.press(TAB)
    assert report.run("return document.activeElement.getAttribute('role')") == "region"  # tables scroll by keys
    opened = "return document.activeElement.tagName == 'SUMMARY' ? document.activeElement.parentElement.open : null"
    while report.run(opened) is None:
        report.press(TAB)
    assert report.run(opened) is False
    report.press(ENTER)
    assert report.run(opened) is True
    assert report.complaints() == []


def test_it_is_dark_where_the_reader_wants_it(report):
    light = report.run(COLOURS)
    report.dark(True)
    dark = report.run(COLOURS)
    assert [brightness(one) > 128 for one in (*light, *dark)] == [True, False, False, True]


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_it_needs_no_scripts(report):
    assert report.run("return document.scripts.length") == 0


@contextmanager
def watching(run: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that a run is watched at, and the server, which gives way to no other tests."""
    code = "import os; os.nice = lambda more: 0; from netspec.cli import main; main()"
    command = ("-c", code, "watch", run, "--port", "0", "--devices", "cpu")
    with started(*command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[0], process


def test_the_page_follows_a_run(window, runs, tmp_path):
    run = Path(shutil.copytree(runs[0], tmp_path / "tiny" / "one"))
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    half = next(place for place, line in enumerate(lines) if '"evaluation"' in line)
    metrics.write_text("".join(lines[:half]))
    lock = Lock(run)
    window.size(1200)
    with watching(run) as (address, process):
        window.open(address)
        assert "running" in window.run("return document.querySelector('#results-body').innerText")
        assert "training goes on" in window.run("return document.querySelector('#status').innerText")
        window.run("window.before = document.querySelector('#curves-body img').src")
        window.run("document.querySelector('#data-body summary').focus()")
        window.press(ENTER)
        window.until("document.querySelectorAll('#filters-body img, #predictions-body img').length == 2")
        assert window.run("return document.querySelector('#data-body details').open")

        with metrics.open("a") as file:
            file.writelines(lines[half:])
        lock.release()
        window.until("document.querySelector('#results-body').innerText.includes('finished')")
        window.until("document.querySelector('#curves-body img').src != window.before")
        assert window.run("return document.querySelector('#data-body details').open")
        assert window.run("return document.activeElement.tagName") == "SUMMARY"
        window.until("document.querySelector('#timeline-body img')")  # measured once the run has ended
        assert window.complaints() == []

        shutil.rmtree(run)
        window.until("document.querySelector('#results-body').innerText.includes('the folder is not there')")
        process.terminate()
        process.wait(60)
        window.until("document.querySelector('#status').innerText.includes('does not answer')")
