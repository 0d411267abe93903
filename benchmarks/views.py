"""What ten views of an image cost: images a second of one evaluation with ten views, against ten evaluations with one.

Untrained networks evaluate JPEGs of 256 x 256 pixels: AlexNet, which takes longer than decoding does on few cores, and
quickstart, for which decoding takes longer. In each round both ways run once, in turn; what is quoted is the median of
the rounds' ratios: ``python benchmarks/views.py``. Starting up is not measured.
Photographs of imagenet-sample are used where they are (NETSPEC_DATA, or ../shared/data beside the repository), else
drawn pictures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import tables
from data import SIZE, circumstances, prepare

import netspec

SPECS = {"alexnet": 256, "quickstart": 1000}
"""The networks, and how many images each sees."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specs", nargs="+", choices=SPECS, default=list(SPECS), help="the networks (default: both)")
    parser.add_argument("--batch", type=int, default=64, help="crops a batch (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--devices", help="as netspec eval --devices takes them")
    parser.add_argument("--json", type=Path, help="write the result there too, for machines")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        what = prepare(Path(name), max(SPECS.values()))
        for spec in options.specs:
            images = some(Path(name) / "train", Path(name) / spec, SPECS[spec])
            run = untrained(spec, images, Path(name) / "runs", options.batch, options.devices)
            rates = [measure(run, images, options.batch, options.devices) for _ in range(options.rounds)]
            rows.append(row(spec, rates))
    result = {**circumstances(), "images": what, "rounds": options.rounds, "rows": rows}
    print("\n".join(tables.views(result)))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def some(source: Path, folder: Path, images: int) -> Path:
    """A set of the first few images, all of one class, in a folder of its own."""
    target = folder / "train" / "images"
    target.mkdir(parents=True)
    for path in sorted(source.glob("*/*"))[:images]:
        shutil.copy(path, target / f"{path.parent.name}-{path.name}")
    return folder


def untrained(spec: str, images: Path, out: Path, batch: int, devices: str | None) -> Path:
    """A run that has seen one batch and learned nothing from it."""
    sets = [f"data.resize={SIZE}", "train.solver.learning_rate=0", "train.schedule={type: constant}"]
    result = netspec.run(
        spec, data=images, out=out, devices=devices, iterations=1, batch=min(batch, 16), overrides=sets
    )
    return result.folder


def measure(run: Path, images: Path, batch: int, devices: str | None) -> tuple[float, float]:
    """Images a second with one view, a tenth of it, and with ten."""
    rates = []
    for views in (1, 10):
        done = netspec.evaluate(run, data=images / "train", views=views, batch=batch, devices=devices)
        rates.append(done.images / done.seconds)
    return rates[0] / 10, rates[1]


def row(spec: str, rates: list[tuple[float, float]]) -> dict[str, Any]:
    """The medians of a network."""
    one, ten = (statistics.median(pair[place] for pair in rates) for place in (0, 1))
    ratio = statistics.median(ten / one for one, ten in rates)
    return {"spec": spec, "images": SPECS[spec], "ten_times_one": one, "ten_views": ten, "ratio": ratio}


if __name__ == "__main__":
    main()
