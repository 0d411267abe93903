"""Every kind of figure on a run that was trained: files that open, at paper size, the same each time."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_tools import netspec, python
from PIL import Image
from training_runs import SPEC

from netspec.api import run
from netspec.errors import NetspecError
from netspec.figures import Picture, figure_kinds, picture
from netspec.figures._style import DOUBLE, SINGLE, shortened
from netspec.report.rate_range import RateRange

SETTINGS = {"scaling": {"device": "h100"}}
"""Of kinds that would measure this machine without."""
SVG = "{http://www.w3.org/2000/svg}"
MARKS = {
    "activations": ["curve.0.0", "level"],
    "curves": ["loss.0.training", "loss.0.validation", "top-1-error.0.validation", "learning-rate.0.training"],
    "confusion": [],
    "predictions": ["bar.0.0", "bar.7.2"],
    "filters": ["colour.0", "colour.1.mean", "orientation.1"],
    "memory": ["buffer.relu1.y@left"],
    "rates": ["losses", "smoothed", "suggestion"],
    "scaling": ["curve.0", "curve.4"],
    "timeline": ["bar.conv1.forward@left", "bar.fc.weight@left.update"],
}
TEXTS = {
    "activations": ["training error", "25 %", "epochs"],
    "architecture": ["tiny", "left", "right"],
    "confusion": ["taken for, % of the class", "top-1 error", "blue-plain-arrow"],
    "neighbours": ["neighbours are of the image's own class", "blue-plain-arrow"],
    "predictions": ["blue-plain-arrow"],
    "curves": ["loss", "top-1 error", "learning rate", "epoch", "training", "validation"],
    "filters": ["left", "right", "colour (dashed: random numbers)"],
    "memory": ["forward", "backward", "activation", "MiB", "update"],
    "rates": ["suggestion: 0.01", "learning rate", "loss", "0.001"],
    "scaling": ["efficiency", "processes", "4,096", "nvlink+400g", "100 %"],
    "timeline": ["left compute", "right copy", "forward", "transfer"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run folder; beside it trace.json and rates.csv."""
    folder = tmp_path_factory.mktemp("figures")
    (folder / "tiny.yaml").write_text(SPEC)
    run(folder / "tiny.yaml", out=folder / "runs", devices="cpu:0,cpu:1", epochs=2, trace=folder / "trace.json")
    logs = [number / 10 - 5 for number in range(51)]
    losses = tuple(2 - 1 / (1 + math.exp(-4 * (log + 2))) for log in logs)
    (folder / "rates.csv").write_text(RateRange(tuple(10**log for log in logs), losses).as_csv())
    return next((folder / "runs" / "tiny").iterdir())


def of(kind: str, trained: Path) -> Path:
    beside = {"timeline": "trace.json", "rates": "rates.csv"}
    return trained.parents[2] / beside[kind] if kind in beside else trained


@pytest.fixture(scope="module")
def shown(trained) -> Callable[[str], Picture]:
    """Each kind of picture of the run, read once."""
    return functools.cache(lambda kind: picture(kind, [of(kind, trained)], **SETTINGS.get(kind, {})))


@pytest.fixture(scope="module")
def rendered(shown) -> Callable[..., bytes]:
    """A kind of picture as a file of a format, drawn once."""
    return functools.cache(lambda kind, format="svg": shown(kind).render(format))


def test_every_kind_is_tested_here():
    assert set(TEXTS) == set(figure_kinds())


@pytest.mark.parametrize("kind", TEXTS)
def test_svg_has_its_marks_and_its_text_as_text(kind, rendered):
    text = rendered(kind).decode()
    root = ElementTree.fromstring(text)
    ids = {element.get("id") for element in root.iter()}
    assert set(MARKS.get(kind, ())) <= ids
    said = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    for expected in TEXTS[kind]:
        assert any(expected in one for one in said), (expected, said)
    assert "http" not in re.sub(r'(xmlns(:\w+)?|rdf:\w+|href)="[^"]*"|<!DOCTYPE[^>]*>', "", text)


@pytest.mark.parametrize("kind", ["architecture", "curves", "filters", "predictions"])
def test_pdf(kind, rendered):
    data = rendered(kind, "pdf")
    assert data.startswith(b"%PDF-") and b"CreationDate" not in data


def test_the_same_run_gives_the_same_bytes_in_another_process(trained, rendered, tmp_path):
    """Whatever the user's settings of matplotlib are."""
    forward = {"confusion", "neighbours", "predictions"}  # which need a network at work: read twice here
    for kind in forward:
        assert picture(kind, [trained]).render() == rendered(kind)
    files = [f"{kind}.svg" for kind in TEXTS if kind not in forward] + ["filters.png", "curves.pdf"]
    for name in files:
        kind, format = name.split(".")
        (tmp_path / name).write_bytes(rendered(kind, format))
    code = (
        "import sys; from pathlib import Path; from netspec.figures import picture\n"
        f"settings = {SETTINGS}\n"
        "for pair in sys.argv[1:]:\n"
        "    file, of = map(Path, pair.split('='))\n"
        "    made = picture(file.stem, [of], **settings.get(file.stem, {}))\n"
        "    assert made.render(file.suffix[1:]) == file.read_bytes(), file\n"
    )
    pairs = [f"{tmp_path / name}={of(name.split('.')[0], trained)}" for name in files]
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    said = python("-c", code, *pairs, MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), PYTHONHASHSEED="7")
    assert said.code == 0, said.err


@pytest.mark.parametrize("kind", TEXTS)
def test_the_command_writes_a_file_as_wide_as_the_paper_and_json_has_the_numbers(kind, trained, tmp_path):
    settings = [word for name, value in SETTINGS.get(kind, {}).items() for word in (f"--{name}", value)]
    said = netspec("figure", kind, of(kind, trained), *settings, "-o", tmp_path / "f.png", "--json")
    assert said.code == 0 and f"wrote {tmp_path / 'f.png'}" in said.err
    json.loads(said.out)
    with Image.open(tmp_path / "f.png") as image:
        assert kind == "architecture" or image.width in (round(300 * SINGLE), round(300 * DOUBLE))
        assert image.format == "PNG" and image.width <= round(300 * DOUBLE) and image.height < 300 * 9.5
        assert len(set(image.convert("L").tobytes())) > 20


@pytest.mark.parametrize("kind", TEXTS)
def test_help_of_a_kind(kind):
    said = netspec("figure", kind, "--help")
    assert said.code == 0 and said.out.startswith(f"Usage: netspec figure {kind} ") and "Examples:" in said.out


def test_architecture_is_the_picture_of_graph_in_every_format(trained, tmp_path):
    from netspec.figures._svg_page import figure_of

    assert netspec("figure", "architecture", "alexnet", "-o", tmp_path / "a.svg").code == 0
    assert netspec("graph", "alexnet", "-o", tmp_path / "b.svg").code == 0
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text()
    root, (axes,) = ElementTree.fromstring(svg), figure_of(svg).axes
    spans = [span.text for text in root.iter(f"{SVG}text") for span in (list(text) or [text])]
    assert [text.get_text() for text in axes.texts] == spans
    shapes = sum(1 for name in ("rect", "circle", "path") for _ in root.iter(SVG + name))
    assert len(axes.patches) == shapes
    wide, high = map(float, root.attrib["viewBox"].split()[2:])
    for text in axes.texts:
        x, y = text.get_position()
        assert 0 <= x <= wide and 0 <= y <= high


def test_a_run_can_be_shown_where_a_spec_can(trained):
    assert picture("memory", [trained]).data.name == "tiny, train, batch 8"
    assert picture("architecture", [trained]).data.name == "tiny"


def test_filters_are_those_that_evaluation_uses(tmp_path):
    """Of a run with averaged weights the averages, and on each device its own."""
    import numpy as np

    from netspec.runners.training import checkpoint

    (tmp_path / "tiny.yaml").write_text(SPEC)
    for ema in ("{decay: 0.5}", "null"):
        made = run(tmp_path / "tiny.yaml", out=tmp_path, devices="cpu", epochs=1, overrides=[f"train.ema={ema}"])
        tensors = checkpoint.read(made.checkpoint).tensors
        whole = tensors["conv1.weight" if ema == "null" else "conv1.weight.average"]
        (one,) = picture("filters", [made.folder]).data
        shown = np.concatenate([side.kernels for side in one.sides])
        assert [side.device for side in one.sides] == ["left", "right"]
        assert np.array_equal(shown, np.moveaxis(whole, -1, 0)), ema


def test_a_timeline_is_measured_now(trained):
    made = picture("timeline", [trained], devices="cpu:0,cpu:1", batch=4)
    names = [bar.name for bar in made.data.bars]
    assert len(names) == len(set(names)) and {"fc.forward@left", "conv1.forward@right"} <= set(names)
    assert all(0 < share <= 1 for share in made.data.busy.values()) and 0 <= made.data.hidden <= 1
    assert made.data.title == "tiny, batch 4, left cpu:0, right cpu:1"


def test_a_timeline_is_measured_of_images_whose_colours_are_altered(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("mirror: true", "augment: {colour: {sigma: 0.1}}"))
    names = {bar.name for bar in picture("timeline", [tmp_path / "tiny.yaml"], devices="cpu").data.bars}
    assert any("tint" in name for name in names), names


def test_labels_are_shown_as_they_are(trained):
    label = r"$x_1$ & <b> 100% 日本"
    text = picture("curves", [trained], [label]).render().decode()
    assert "$x_1$ &amp; &lt;b&gt; 100% 日本" in text
    assert picture("curves", [trained, trained], [label, "y" * 200]).render("png")


def test_networks_of_one_name_are_told_apart_by_their_paths(trained, monkeypatch):
    monkeypatch.chdir(trained.parents[2])
    made = picture("scaling", ["tiny.yaml", trained], device="h100", network=["10g"], show="rate", most=5)
    curves = [f"{path}, 10g" for path in ("tiny.yaml", trained.relative_to(Path.cwd()))]
    assert [line.partition(": 4 processes at")[0] for line in made.lines[2:]] == curves
    text = made.render().decode()
    assert all(word in text for word in (*curves, "images a second"))


def test_runs_of_one_label_are_one_entry_of_the_legend(trained):
    text = picture("curves", [trained, trained, trained], ["ReLU", "ReLU", "tanh"]).render().decode()
    assert text.count(">ReLU</text>") == text.count(">tanh</text>") == 1
    assert len({f"loss.{run}.training" for run in range(3)} & set(re.findall(r'id="([^"]+)"', text))) == 3


def test_long_names_keep_both_ends():
    assert shortened("abc", 3) == "abc" and shortened("abcdefghijkl", 7) == "abcd…kl"
    assert len(shortened("x" * 500, 60)) == 60


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["curves", "gone", "-o", "x.svg"], 2, "error: gone: no such run"),
        (["activations", "RUN", "-o", "x.jpg"], 2, "x.jpg: the name must end with .svg, .png or .pdf"),
        (["activations", "RUN"], 2, "-o FILE says where to write"),
        (["activations", "RUN", "-o", "gone/x.svg"], 1, "error: cannot write gone/x.svg"),
        (["activations", "RUN", "--level", "1", "-o", "x.svg"], 2, "'--level'"),
        (["activations", "RUN", "--label", "a", "--label", "b", "-o", "x.svg"], 1, "error: 2 labels for 1 of RUN"),
        (["filters", "gone", "-o", "x.svg"], 2, "error: gone: no such run or checkpoint"),
        (["filters", "RUN", "--layer", "fc", "-o", "x.svg"], 1, "fc has a weight of 4 x 4 x 8 x 3"),
        (["filters", "RUN", "--layer", "relu1", "-o", "x.svg"], 1, "relu1 has no weight"),
        (["filters", "RUN", "--layer", "conv9", "-o", "x.svg"], 1, "no layer 'conv9' in tiny"),
        (["memory", "gone", "-o", "x.svg"], 2, "gone"),
        (["memory", "alexnet", "quickstart", "-o", "x.svg"], 1, "at most 1 of SPEC|RUN; 2 given"),
        (["memory", "alexnet", "--devices", "tpu", "-o", "x.svg"], 1, "unknown device 'tpu'"),
        (["predictions", "gone", "-o", "x.svg"], 2, "error: gone: no such run or checkpoint"),
        (["neighbours", "RUN", "--layer", "conv9", "-o", "x.svg"], 1, "no layer 'conv9'"),
        (["confusion", "RUN", "--data", "gone", "-o", "x.svg"], 2, "gone"),
        (["curvse", "RUN"], 2, "no such command 'curvse' (did you mean 'curves'?)"),
    ],
)
def test_what_cannot_be_drawn_is_said(args, code, message, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = netspec("figure", *(str(trained) if arg == "RUN" else arg for arg in args))
    assert said.code == code and message in said.err and "Traceback" not in said.err


def test_without_matplotlib_one_line_says_what_to_type(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = netspec("figure", "curves", trained, "-o", tmp_path / "x.svg")
    assert said == (1, "", "error: figures are drawn by matplotlib: pip install 'netspec[figures]'\n")
    assert netspec("figure", "curves", trained, "--json").code == 0  # numbers need no picture
    assert netspec("curves", trained).code == 0


def test_settings_from_python_are_checked(trained):
    with pytest.raises(NetspecError, match=r"filters: scale='loud' is no setting of it \(settings: layer, scale"):
        picture("filters", [trained], scale="loud")
    with pytest.raises(NetspecError, match="no such kind of figure: 'films'"):
        picture("films", [trained])
