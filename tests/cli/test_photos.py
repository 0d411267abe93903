"""A folder of one's own photographs: from class folders without a split to predictions, as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from cli_tools import MINI, Said, imported_by, netspec
from data_samples import encoded, jpeg, picture, write_folder, write_tar

CLASSES = ("Käfer & Co", "ant", "парашют")
NET = MINI.replace("units: 3", "units: classes").replace("epochs: 2", "epochs: 1")


def photos(root: Path, each: int = 12) -> Path:
    """Photos of mixed sizes in nested class folders, one class with a single photo, and a broken one."""
    content = {
        f"{name}/{'best of/' * (i % 2)}photo {i:02}.jpg": jpeg(100 * c + i, 12 + i, 20)
        for c, name in enumerate(CLASSES)
        for i in range(each)
    }
    content |= {"lone/wolf.png": encoded(picture(5, 30, 30), "PNG"), "ant/broken.jpg": b"no photo"}
    content |= {"ant/notes.txt": b""}
    return write_folder(root, content)


def trained(tmp_path: Path, *options: object) -> tuple[Said, Path]:
    """A run of the little net on the photos, and its folder."""
    spec = tmp_path / "mini.yaml"
    spec.write_text(NET, encoding="utf-8")
    data = photos(tmp_path / "my photos")
    said = netspec("run", spec, "--data", data, "--out", tmp_path / "runs", "--workers", 0, *options)
    assert said.code == 0, said.err
    return said, next((tmp_path / "runs/mini").iterdir())


def values(folder: Path, *wanted: str) -> list[str]:
    """Lines of a run's resolved spec."""
    lines = (folder / "spec.resolved.yaml").read_text(encoding="utf-8").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.strip().startswith(wanted)]


def test_class_folders_without_a_split_are_trained_on_and_validated(tmp_path: Path) -> None:
    said, run = trained(tmp_path)
    heard = said.out + said.err
    assert "no validation images there: 10 % of each class, 3 images, are held out (data.split)" in heard
    assert "1 class with one image, which is trained on, not held out: 'lone'" in heard
    assert "4 classes: fc2.units = 4" in heard
    assert heard.index("are held out") < heard.index("training mini")
    assert "over 3 images" in heard
    assert values(run, "units:", "split: 0") == ["units: 8", "units: 4", "split: 0.1"]
    assert (run / "classes.txt").read_text(encoding="utf-8").splitlines() == sorted([*CLASSES, "lone"])


def evaluated(run: Path, *options: object) -> tuple[int, str]:
    """How many images are evaluated, and all that is said."""
    said = netspec("eval", run, "--json", "--workers", 0, *options)
    assert said.code == 0, said.err
    return json.loads(said.out)["images"], said.err


def test_a_run_finds_its_held_out_images_again(tmp_path: Path) -> None:
    _, run = trained(tmp_path)
    loss = json.loads(netspec("eval", run, "--json").out)["loss"]
    assert evaluated(run)[0] == 3
    assert evaluated(run, "--split", "train")[0] == 34  # a broken one is left out
    own = tmp_path / "my photos"
    packed = write_tar(tmp_path / "all.tar", {
        str(path.relative_to(own)): path.read_bytes() for path in own.rglob("*.*") if path.is_file()
    })  # fmt: skip
    count, said = evaluated(run, "--data", packed)
    assert count == 3 and "these are the run's images, at another place" in said
    moved = own.rename(tmp_path / "moved")
    count, said = evaluated(run, "--data", moved)
    assert count == 3 and "these are the run's images, at another place" in said
    assert json.loads(netspec("eval", run, "--json", "--data", moved).out)["loss"] == loss
    resumed = netspec("run", "--resume", run, "--epochs", 2, "--data", moved, "--workers", 0)
    assert resumed.code == 0 and "3 images, are held out" in resumed.out + resumed.err, resumed.err
    other = photos(tmp_path / "other", 8)
    assert evaluated(run, "--data", other)[0] == 25  # another set is evaluated as a whole


def test_images_that_were_added_since_are_told(tmp_path: Path) -> None:
    _, run = trained(tmp_path)
    write_folder(tmp_path / "my photos", {f"ant/new {i}.jpg": jpeg(i) for i in range(20)})
    count, said = evaluated(run)
    assert count > 3 and "others are held out than then, and some may be trained on" in said
    again = netspec("run", "--resume", run, "--epochs", 2)
    assert again.code == 1 and "the images in" in again.err and "are not the run's" in again.err


def test_the_split_can_be_larger_or_none(tmp_path: Path) -> None:
    said, run = trained(tmp_path, "--set", "data.split=0.5", "--set", "data.split_seed=3")
    assert "50 % of each class, 19 images, are held out" in said.out + said.err
    assert values(run, "split: 0", "split_seed") == ["split: 0.5", "split_seed: 3"]
    shutil.rmtree(tmp_path / "runs")
    said, run = trained(tmp_path, "--set", "data.split=0")
    heard = said.out + said.err
    assert "no validation images of 4 classes" in heard and "data.split holds some images out" in heard


def test_a_run_whose_spec_had_a_number_goes_on_when_it_follows_the_data(tmp_path: Path) -> None:
    spec, out = tmp_path / "mini.yaml", tmp_path / "runs"
    spec.write_text(MINI)
    assert netspec("run", spec, "--out", out, "--iterations", 2).code == 0
    spec.write_text(MINI.replace("units: 3", "units: classes"))
    said = netspec("run", spec, "--out", out, "--resume", "latest", "--iterations", 3)
    assert said.code == 0 and "finished after" in said.out + said.err, said.err


def test_the_classes_of_new_data_are_counted_again(tmp_path: Path) -> None:
    said, run = trained(tmp_path, "--set", "data.source={type: folder, path: x}", "--set", "data.classes=9")
    assert "4 classes, not 9 as data.classes says: fc2.units = 4" in said.out + said.err
    assert values(run, "classes:") == ["classes: 4"]
    five = write_folder(tmp_path / "five", {f"{name}/{i}.jpg": jpeg(i, 9, 9) for name in "abcde" for i in range(4)})
    again = netspec("run", tmp_path / "mini.yaml", "--data", five, "--out", tmp_path / "more", "--workers", 0)
    assert again.code == 0 and "5 classes: fc2.units = 5" in again.out + again.err
    fixed = netspec("run", tmp_path / "mini.yaml", "--data", five, "--set", "layers.fc2.units=4")
    assert fixed.code == 1 and "'units: classes'" in fixed.err


def test_a_sweep_shares_the_split_and_knows_its_runs_again(tmp_path: Path) -> None:
    spec = tmp_path / "mini.yaml"
    spec.write_text(NET, encoding="utf-8")
    data = photos(tmp_path / "my photos")
    sweep = ("sweep", spec, "--seeds", "0,1", "--data", data, "--out", tmp_path / "runs", "--workers", 0)
    first = netspec(*sweep)
    assert first.code == 0, first.err
    runs = sorted((tmp_path / "runs/mini").iterdir())
    assert len(runs) == 2
    prints = [json.loads((run / "start.json").read_text())["data"] for run in runs]
    assert prints[0] == prints[1] and prints[0]["val"]["images"] == 3
    assert netspec(*sweep).code == 0 and sorted((tmp_path / "runs/mini").iterdir()) == runs


def test_predict_takes_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = trained(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = netspec("predict", run, "my photos", "--csv", "--top", 2)
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert said.code == 1 and len(rows) == 38 and "1 of 38 images have no answer" in said.err
    assert list(rows[0]) == ["image", "class_1", "probability_1", "class_2", "probability_2", "error"]
    names = [row["image"] for row in rows]
    assert names == sorted(names) and all(Path(name).is_file() for name in names)
    (broken,) = [row for row in rows if row["error"]]
    assert broken["image"] == "my photos/ant/broken.jpg" and not broken["class_1"]
    assert "passed over: 1 .txt" in said.err
    given = ("my photos/lone/wolf.png", "my photos/ant/photo*", "my photos/парашют")
    data = json.loads(netspec("predict", run, *given, "--json").out)
    shown = [each["path"] for each in data]
    assert shown[0] == given[0] and shown[1:7] == [f"my photos/ant/photo {i:02}.jpg" for i in range(0, 12, 2)]
    assert len(shown) == 1 + 6 + 12 and {len(each["top"]) for each in data} == {4}
    assert "\x1b" not in netspec("predict", run, "my photos/lone").out


def test_predict_says_what_is_not_there(tmp_path: Path) -> None:
    _, run = trained(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no images there; looked for" in netspec("predict", run, tmp_path / "empty").err
    assert "no file matches" in netspec("predict", run, tmp_path / "x*").err
    assert netspec("predict", run, tmp_path, "--csv", "--json").code == 2
    gone = netspec("predict", run, tmp_path / "gone.jpg")
    assert gone.code == 1 and "gone.jpg: No such file" in gone.err


def test_new_writes_a_spec_that_holds_and_runs(tmp_path: Path) -> None:
    photos(tmp_path / "my photos")
    spec = tmp_path / "beetles.yaml"
    said = netspec("new", spec, "--data", tmp_path / "my photos")
    assert said.code == 0, said.err
    text = spec.read_text(encoding="utf-8")
    assert "extends: quickstart" in text and 'path: "my photos"' in text and "classes: 4" in text
    assert "split: 0.1" in text and all(len(line) < 120 for line in text.splitlines())
    checked = netspec("validate", spec)
    assert checked.code == 0 and checked.out.strip().endswith("valid, 11 layers on 2 devices"), checked.err
    run = netspec("run", spec, "--out", tmp_path / "runs", "--iterations", 1, "--workers", 0)
    assert run.code == 0 and "3 images, are held out" in run.out + run.err, run.err
    assert next((tmp_path / "runs/beetles").iterdir()).is_dir()
    again = netspec("new", spec, "--data", tmp_path / "my photos")
    assert again.code == 1 and "--force" in again.err and spec.read_text(encoding="utf-8") == text
    assert netspec("new", spec, "--data", tmp_path / "my photos", "--force", "--from", "cifar10-quick").code == 0
    assert "extends: cifar10-quick" in spec.read_text(encoding="utf-8")


@pytest.mark.parametrize("base", ["alexnet", "alexnet-2012", "cifar10-18pct", "mini.yaml"])
def test_new_builds_on_a_net_that_is_named(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mini.yaml").write_text(MINI.replace("units: 3", "units: 2").replace("classes: 3", "classes: 2"))
    write_folder(tmp_path / "set", {f"{part}/{name}/{i}.jpg": jpeg(i, 40, 40) for part in ("train", "val")
                                    for name in "abcde" for i in range(4)})  # fmt: skip
    Path("sub").mkdir()
    assert netspec("new", "sub/own.yaml", "--data", "set", "--from", base).code == 0
    text = Path("sub/own.yaml").read_text(encoding="utf-8")
    assert ("../mini.yaml" if base == "mini.yaml" else f"extends: {base}") in text and "split:" not in text
    assert ("{name: fc2, units: classes}" in text) == (base == "mini.yaml")
    assert netspec("validate", "sub/own.yaml").code == 0


def test_new_says_what_it_cannot_do(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "bad", {f"{name}/{i}.jpg": b"no photo" for name in "ab" for i in range(3)})
    spec = tmp_path / "x.yaml"
    for options, told in (
        (("--data", data), "none of the images that were looked at can be read"),
        (("--data", tmp_path / "gone"), "no such folder or archive"),
        (("--data", data, "--from", "alexnett"), "did you mean 'alexnet'?"),
    ):
        said = netspec("new", spec, *options)
        assert said.code in (1, 2) and told in said.err and not spec.exists()
    good = photos(tmp_path / "photos")
    video = netspec("new", spec, "--data", good, "--from", "video")
    assert video.code == 1 and "single square images" in video.err
    assert netspec("new", tmp_path / "x.txt", "--data", good).code == 2
    assert netspec("new", tmp_path / "no/x.yaml", "--data", good).code == 2
    assert not imported_by("new", "--help") & {"numpy", "numba", "PIL", "rich"}
