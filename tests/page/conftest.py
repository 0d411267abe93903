"""Two runs, and their page."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from training_runs import SPEC

from netspec.api import run
from netspec.page.run_page import run_page


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs of one spec, on images in a folder."""
    folder = tmp_path_factory.mktemp("report")
    for split, count in (("train", 12), ("val", 6)):
        for number in range(count):
            place = folder / "images" / split / ("red", "<b>blue")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 8), ((200 - number, 20, 20), (20, 20, 200 - number))[number % 2]).save(
                place / f"{number}.png"
            )
    (folder / "tiny.yaml").write_text(SPEC.replace("batch: 8", "batch: 4"))
    for seed in (1, 2):
        run(folder / "tiny.yaml", data=folder / "images", out=folder / "runs", devices="cpu", epochs=2, seed=seed)
    return sorted((folder / "runs" / "tiny").iterdir())


@pytest.fixture(scope="session")
def text(runs) -> str:
    return run_page(runs, devices="cpu")
