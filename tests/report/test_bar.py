"""Progress without a terminal: a line every ten seconds, with the rate and the time that is left."""

from __future__ import annotations

import pytest

from netspec.report.bar import bar


def test_lines_every_ten_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with bar("images", 100_000, lambda: now) as tell:
        for seconds, more in ((4.0, 400), (9.9, 590), (10.0, 10), (19.0, 1000), (4000.0, 96_000), (4001.0, 2000)):
            now = seconds
            tell(more)
    assert capsys.readouterr().err.splitlines() == [
        "1,000 of 100,000 images, 100 a second, 16:30 left",
        "98,000 of 100,000 images, 24 a second, 1:22 left",
        "100,000 of 100,000 images, 25 a second",
    ]


def test_hours(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with bar("images", 1_000_000, lambda: now) as tell:
        now = 60.0
        tell(6000)
    assert capsys.readouterr().err == "6,000 of 1,000,000 images, 100 a second, 2:45:40 left\n"
