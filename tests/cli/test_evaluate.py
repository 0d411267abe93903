"""``eval`` of several networks, its files, ``table`` and ``features``, as a user types them."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from cli_tools import MINI, ROOT, netspec

QUIET = ("--workers", 0, "--devices", "cpu:0,cpu:1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs of a small network, as paths from the folder that they lie in."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mini.yaml").write_text(MINI)
    before = Path.cwd()
    os.chdir(folder)
    try:
        said = [netspec("run", "mini.yaml", "--seed", seed, *QUIET) for seed in (1, 2)]
    finally:
        os.chdir(before)
    return folder, [re.search(r"^the run lies in (.+)$", one.out, re.MULTILINE)[1] for one in said]


@pytest.fixture(autouse=True)
def folder(runs, monkeypatch):
    monkeypatch.chdir(runs[0])
    return runs[0]


@pytest.fixture
def paths(runs):
    return runs[1]


def check(said, code=0):
    assert said.code == code, said
    return said


def test_one_network_has_an_interval(paths):
    said = check(netspec("eval", paths[0], *QUIET))
    error = r"\d+\.\d % \(\d+\.\d to \d+\.\d\)"
    assert re.search(rf"^ +1 +\S+ +{error}$", said.out, re.MULTILINE), said.out
    assert f"\n1: {paths[0]}\n" in said.out
    assert "Wilson" in said.out and "differences" not in said.out and "average" not in said.out


def test_several_are_averaged_and_compared(paths):
    said = check(netspec("eval", *paths, "--views", 10, "--classes", "--confusion", *QUIET))
    assert len(re.findall(r"^evaluated val .*10 views", said.out, re.MULTILINE)) == 2
    assert re.search(r"^ average +\d", said.out, re.MULTILINE)
    for pair in ("1 and 2", "1 and average", "2 and average"):
        assert len(re.findall(rf"^ {pair} +\d+ and \d+ +[+-]\d", said.out, re.MULTILINE)) == 1, said.out
    assert "top-5" not in said.out  # of three classes it is always 0
    assert "McNemar" in said.out and "errors by class" in said.out
    counts = re.findall(r"^ \d +\S+ +([\d.]+) +([\d.]+) +([\d.]+)$", said.out, re.MULTILINE)
    assert sum(int(count) for line in counts for count in line if count != ".") == 16


def test_json_holds_all_of_it(paths):
    said = check(netspec("eval", *paths, "--confusion", "--json", *QUIET))
    data = json.loads(said.out)
    assert data["images"] == 16 and data["rates"]["top1"]["error"] == data["errors"]["top1"]
    assert data["rates"]["top1"]["low"] <= data["errors"]["top1"] <= data["rates"]["top1"]["high"]
    assert [one["run"] for one in data["networks"]] == paths
    assert len(data["differences"]["top1"]) == 3 and len(data["classes"]) == 3
    assert np.array(data["confusion"]["counts"]).sum() == 16
    alone = json.loads(check(netspec("eval", paths[0], "--json", *QUIET)).out)
    assert alone["errors"] == data["networks"][0]["errors"] and "confusion" not in alone


def test_predictions_as_csv_and_parquet_are_the_same(paths):
    for name in ("seen.csv", "seen.parquet"):
        check(netspec("eval", *paths, "--out", name, "--top", 2, "--probabilities", *QUIET))
    import pyarrow.parquet

    table = pyarrow.parquet.read_table("seen.parquet")
    rows = list(csv.DictReader(Path("seen.csv").read_text().splitlines()))
    assert len(rows) == table.num_rows == 16
    about = json.loads(table.schema.metadata[b"netspec"])
    assert about["networks"] == paths and about["views"] == 1
    for row, other in zip(rows, table.to_pylist(), strict=True):
        assert (row["image"], row["label"], row["class_1"]) == (other["image"], other["label"], other["class_1"])
        assert int(row["index"]) == other["index"] and int(row["rank"]) == other["rank"]
        assert np.float32(row["probability_2"]) == other["probability_2"]
        assert [np.float32(row[f"p:{name}"]) for name in about["classes"]] == other["probabilities"]
        assert (int(row["rank"]) == 1) == (row["class_1"] == row["label"])
    wrong = sum(row["class_1"] != row["label"] for row in rows)
    told = json.loads(netspec("eval", *paths, "--json", *QUIET).out)
    assert told["rates"]["top1"]["wrong"] == wrong


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--out", "seen.xlsx"), 1, "seen.xlsx: the name must end in .csv or .parquet"),
        (("--out", "gone/seen.csv"), 1, "gone/seen.csv: there is no folder gone"),
        (("--out", "runs.csv"), 1, "runs.csv: is a directory, not a file"),
        (("--top", "3"), 2, "name it with --out FILE"),
        (("--probabilities",), 2, "name it with --out FILE"),
        (("gone",), 2, "gone: no such run or checkpoint"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_evaluated(paths, folder, args, code, message):
    (folder / "runs.csv").mkdir(exist_ok=True)
    said = check(netspec("eval", paths[0], *args, *QUIET), code)
    assert message in said.err and "evaluated" not in said.out and "Traceback" not in said.err


def test_a_folder_that_takes_no_file_is_told_before_anything_is_evaluated(paths, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    said = check(netspec("eval", paths[0], "--out", "seen.csv", *QUIET), 1)
    assert said.err == "error: seen.csv: no file may be written to .\n" and not said.out


def test_without_pyarrow_the_extra_is_named(paths, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for command in (("eval", paths[0], "--out", "x.parquet"), ("features", paths[0], "-o", "x.parquet")):
        said = check(netspec(*command, *QUIET), 1)
        assert "pip install 'netspec[parquet]'" in said.err and said.err.count("\n") == 1


def test_of_a_network_without_probabilities_there_is_the_loss_alone(folder):
    plugin = ("--plugin", ROOT / "tests" / "plugins" / "squared_cost.py")
    (folder / "squared.yaml").write_text(MINI.replace("softmax_loss", "squared_cost").replace("name: mini", "name: sq"))
    trained = check(netspec("run", "squared.yaml", *plugin, *QUIET))
    made = re.search(r"^the run lies in (.+)$", trained.out, re.MULTILINE)
    assert "evaluated val" in check(netspec("eval", made[1], *plugin, *QUIET)).out
    for more in (("--out", "x.csv"), ("--classes",), ("--confusion",)):
        said = check(netspec("eval", made[1], *more, *plugin, *QUIET), 1)
        assert said.err == f"error: {made[1]}: the network gives no class probabilities: there is its loss alone\n"
    assert "gives no class probabilities" in check(netspec("table", made[1], *plugin, *QUIET), 1).err


PUBLISHED = {"37.5", "17.0", "47.1", "28.2", "45.7", "25.7", "26.2", "40.7", "18.2", "38.1", "16.4", "39.0", "16.6"}
PUBLISHED |= {"36.7", "15.4", "15.3"}


@pytest.mark.parametrize("kind", ["text", "csv", "latex"])
def test_the_table_has_the_published_rows_and_ones_own(paths, kind):
    said = check(netspec("table", *paths, "--format", kind, *QUIET))
    assert set(re.findall(r"\d\d\.\d", said.out)) >= PUBLISHED
    assert "evaluated val" in said.err and "evaluated" not in said.out
    written = [path.replace("_", r"\_") if kind == "latex" else path for path in paths]
    lines = said.out.splitlines()
    if kind == "text":  # runs are numbered, and named below the table
        assert [line for line in lines if line[:3] in ("1: ", "2: ")] == [f"1: {paths[0]}", f"2: {paths[1]}"]
        assert "Measured here: generated, 10 views" in lines and "top-5 (95 %)" not in said.out
        own = re.findall(r"^ [12] CNNs? .*$", said.out, re.MULTILINE)[-3:]
        assert [re.split("  +", line.strip())[1:3] for line in own] == [["1", "16"], ["2", "16"], ["1 to 2", "16"]]
        return
    own = [line for line in lines if any(path in line for path in written)]
    assert len(own) == 3 and all(path in own[-1] for path in written)
    assert ["1 CNN" in line for line in own] == [True, True, False] and "2 CNNs" in own[-1]
    assert all("generated" in line and "10" in line and "16" in line for line in own)


def test_the_table_as_csv_is_one_table(paths):
    told = json.loads(check(netspec("table", paths[0], "--json", *QUIET)).out)
    rows = list(csv.DictReader(netspec("table", paths[0], "--format", "csv", *QUIET).out.splitlines()))
    by_model = {(row["model"], row["set"]): (row["top-1"], row["top-5"]) for row in rows}
    assert by_model["7 CNNs*", "ILSVRC-2012 test"] == ("", "15.3")
    assert by_model["1 CNN", "ILSVRC-2012 val"] == ("40.7", "18.2")
    assert by_model["CNN", "ILSVRC-2010 test"] == ("37.5", "17.0")
    (own,) = told["measured"]
    assert own["top5"] is None and rows[-1]["top-5"] == rows[-1]["top-5 high"] == ""
    assert float(rows[-1]["top-1"]) == pytest.approx(100 * own["top1"]["error"], abs=0.01)
    assert (rows[-1]["views"], rows[-1]["images"]) == ("10", "16") and own["views"] == 10


def test_the_table_is_of_one_form(paths):
    assert check(netspec("table", paths[0], "--json", "--format", "csv"), 2).err


def test_features_say_what_was_written(paths, folder):
    said = check(netspec("features", paths[0], "-o", "f.npz", *QUIET))
    assert said.out.splitlines()[-1] == "f.npz: relu1, 8 features of each of 16 images"
    with np.load("f.npz") as file:
        assert file["features"].shape == (16, 8)
    data = json.loads(check(netspec("features", paths[0], "-o", "f.npz", "--layer", "fc2", "--json", *QUIET)).out)
    assert data == {"file": "f.npz", "layer": "fc2", "images": 16, "shape": [3]}
    said = check(netspec("features", paths[0], "-o", "f.npz", "--layer", "fc3", *QUIET), 1)
    assert "the network has no layer 'fc3' (did you mean 'fc" in said.err
    assert "must end in .npz or .parquet" in check(netspec("features", paths[0], "-o", "f.h5", *QUIET), 1).err
