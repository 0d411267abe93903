"""What ten views of an image cost: images a second of one evaluation with ten views, against ten evaluations with one.

An untrained network evaluates JPEGs of 256 x 256 pixels. In each round both ways run once, in turn; what is quoted is
the median of the rounds' ratios: ``python benchmarks/views.py``. Starting up is not measured.
Photographs of imagenet-sample are used where they are (NETSPEC_DATA, or ../shared/data beside the repository), else
drawn pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from data import SIZE, circumstances, prepare

import netspec


def main() -> None:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="alexnet", help="the network (default alexnet)")
    parser.add_argument("--images", type=int, default=128, help="how many are evaluated (default 128)")
    parser.add_argument("--batch", type=int, default=64, help="crops a batch (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--devices", help="as netspec eval --devices takes them")
    parser.add_argument("--json", type=Path, help="write the result there too, for machines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what = prepare(folder, options.images)
        keep(folder / "train", options.images)
        run = untrained(options.spec, folder, options.batch, options.devices)
        rates = [measure(run, folder, options.batch, options.devices) for _ in range(options.rounds)]
    single, ten = (statistics.median(rate[place] for rate in rates) for place in (0, 1))
    ratio = statistics.median(ten / single for single, ten in rates)
    print(f"{options.spec}, {options.images} of {what}: one view {single:,.1f} img/s; ten views {ten:,.2f} img/s,")
    print(f"{ratio:.2f} of what ten evaluations with one view reach")
    result = {**circumstances(), "spec": options.spec, "images": options.images, "what": what, "rounds": options.rounds}
    if options.json:
        options.json.write_text(json.dumps({**result, "one": single, "ten": ten, "ratio": ratio}, indent=2) + "\n")


def keep(folder: Path, images: int) -> None:
    """Remove all but some images, in place of a smaller set."""
    for path in sorted(folder.glob("*/*"))[images:]:
        path.unlink()
    for path in folder.iterdir():
        if not any(path.iterdir()):
            path.rmdir()


def untrained(spec: str, folder: Path, batch: int, devices: str | None) -> Path:
    """A run that has seen a single batch."""
    sets = [f"data.resize={SIZE}", "train.sgd.learning_rate=0", "train.schedule={type: constant}"]
    given = {"devices": devices, "iterations": 1, "batch": min(batch, 16), "overrides": sets}
    return netspec.run(spec, data=folder, out=folder / "runs", **given).folder


def measure(run: Path, folder: Path, batch: int, devices: str | None) -> tuple[float, float]:
    """Images a second with one view, a tenth of it, and with ten."""
    rates = []
    for views in (1, 10):
        done = netspec.evaluate(run, data=folder / "train", views=views, batch=batch, devices=devices)
        rates.append(done.images / done.seconds)
    return rates[0] / 10, rates[1]


if __name__ == "__main__":
    main()
