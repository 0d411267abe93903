"""What decides a run is recorded with it, and told where it is another when the run is resumed."""

import hashlib
import json
import os
import re
import shlex
import shutil
import time
from dataclasses import asdict, replace

import pytest
from data_samples import jpeg, write_folder
from training_runs import SPEC, final, same, spec, stopping_after, told, train, whole

from netspec.api import evaluate, predict
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, Note, RunStarted
from netspec.machine.environment import code_choices
from netspec.registry import Plugin, plugin_code
from netspec.rundir.directory import RunDirectory, read_history, run_folders, runs
from netspec.runners.recorded_plugins import load_again
from netspec.runners.training import checkpoint

__all__ = ["spec", "whole"]

BEND = """
from netspec.plugin import Elementwise, register
@register("bend")
class Bend(Elementwise):
    def forward(x): return x if x > 0 else 0.1 * x
    def backward(x, dy): return dy if x > 0 else 0.1 * dy
"""


def notes(events):
    return [note.text for note in told(events, Note)]


# Plugins ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bent(spec):
    """A spec with a plugin's layer, and the plugin beside it."""
    spec.write_text(SPEC.replace("type: relu", "type: bend"))
    (spec.parent / "bend.py").write_text(BEND)
    yield spec
    forget()


def forget():
    """A new process would know no plugin."""
    for module in list(plugin_code._loaded):
        plugin_code._discard(module)


def bent_run(bent, **options):
    result, _ = train(bent, plugins=[bent.parent / "bend.py"], listener=stopping_after(7), **options)
    forget()
    return result


def test_a_plugin_is_loaded_again_while_it_is_the_same(bent):
    first = bent_run(bent)
    (recorded,) = checkpoint.read(first.checkpoint).record.plugins
    assert recorded.file == str(bent.parent / "bend.py") and recorded.types == ("bend",)
    assert json.loads((first.folder / "environment.json").read_text())["plugins"] == [
        {**asdict(recorded), "types": ["bend"]}
    ]
    heard: list = []
    evaluate(first.folder, listener=heard.append)
    assert f"plugin {recorded.file}, as the run was made with" in notes(heard)
    forget()
    (prediction,) = predict(first.checkpoint, "gone.jpg", listener=heard.append)
    assert prediction.error == "No such file or directory"
    forget()
    result, _ = train(bent, resume="latest")
    forget()
    assert same(final(result), final(train(bent, plugins=[bent.parent / "bend.py"], out=bent.parent / "others")[0]))


def test_a_plugin_that_has_changed_is_not_run_unasked_but_the_runs_copy(bent):
    first = bent_run(bent)
    (bent.parent / "bend.py").write_text(f"open({str(bent.parent / 'ran')!r}, 'w')\n{BEND}")
    for go_on in (
        lambda hear: evaluate(first.folder, listener=hear),
        lambda hear: predict(first.checkpoint, "x.jpg", listener=hear),
        lambda hear: hear_of(train(None, resume=str(first.folder)), hear),
        lambda hear: hear_of(train(bent, resume="latest"), hear),
    ):
        heard: list = []
        go_on(heard.append)
        (line,) = [text for text in notes(heard) if "the run's own copy" in text]
        assert line.startswith(f"plugin {first.folder}/plugins/") and line.endswith(" takes it as it is now")
        assert f"bend.py, the run's own copy, since {bent.parent / 'bend.py'} is no longer what the run was" in line
        assert not [text for text in notes(heard) if text.startswith("changed: layer type")]
        forget()
    assert not (bent.parent / "ran").exists()
    later = checkpoint.read_record(next(iter(sorted((first.folder / "checkpoints").iterdir())))).plugins
    assert later == checkpoint.record_of(first.folder).plugins  # the copy is recorded as what it is a copy of


def hear_of(trained, hear):
    for event in trained[1]:
        hear(event)


@pytest.mark.parametrize(("damage", "options"), [("changed", 1), ("gone", 0)])
def test_without_a_copy_what_to_type_is_said_and_works(bent, damage, options):
    first = bent_run(bent)
    shutil.rmtree(first.folder / "plugins")
    file = bent.parent / "bend.py"
    file.write_text(BEND + "# changed") if damage == "changed" else file.unlink()
    message = r"bend.py: the plugin for layer type 'bend' is .*, and has not been run; "
    with pytest.raises(NetspecError, match=message) as caught:
        evaluate(first.folder)
    named = [shlex.split(text)[0] for text in re.findall(r"--plugin (\S+\.py)", str(caught.value))]
    assert len(named) == options and (options or "where it lies now: --plugin FILE" in str(caught.value))
    file.write_text(BEND + "# changed")
    heard: list = []
    assert evaluate(first.folder, plugins=[file], listener=heard.append).images == 13
    assert [text for text in notes(heard) if text.startswith("changed: layer type 'bend'")]


def test_a_changed_plugin_that_is_named_is_taken_told_and_recorded(bent):
    first = bent_run(bent)
    (bent.parent / "bend.py").write_text(BEND.replace("0.1", "0.5"))
    second, events = train(bent, resume="latest", plugins=[bent.parent / "bend.py"])
    (line,) = [text for text in notes(events) if text.startswith("changed: layer type")]
    assert line.endswith("bend.py: not the code that the run was made with")
    entry = read_history(first.folder)[-2]
    assert entry["what"] == "resume" and entry["changes"] == [line.removeprefix("changed: ")]
    old, new = (checkpoint.read(result.checkpoint).record.plugins[0] for result in (first, second))
    assert old.digest != new.digest
    copies = {copy.read_text() for copy in (second.folder / "plugins").glob("*/bend.py")}
    assert copies == {BEND, BEND.replace("0.1", "0.5")}  # the checkpoints before the change have theirs too


def test_a_record_cannot_have_any_file_run(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    heard: list[str] = []
    with pytest.raises(NetspecError, match=r"script.py: the plugin for layer type 'bend' has not been run: a run"):
        load_again([Plugin(str(script), ("bend",), {"script.py": digest})], [], heard.append)
    for digests in ({"../script.py": digest, "x.py": digest}, {str(script): digest, "x.py": digest}, {}, {"y.py": "0"}):
        with pytest.raises(NetspecError, match=r"x.py: .* is recorded with (a file of another folder|no files)"):
            load_again([Plugin(str(tmp_path / "x.py"), ("bend",), digests)], [], heard.append)
    assert not heard and not (tmp_path / "ran").exists()


def test_a_layer_of_a_package_that_is_not_installed_is_named():
    recorded = Plugin("/elsewhere/layer.py", ("bend",), {"layer.py": "0"}, "bends.layer", "bends 1.2")
    with pytest.raises(NetspecError, match=r"'bend' is not known here: .* from module bends.layer \(bends 1.2\)"):
        load_again([recorded], [], print)


def test_checkpoints_of_version_0_1_are_read(spec):
    first, _ = train(spec, listener=stopping_after(7))
    found = checkpoint.read(first.checkpoint)
    values = json.loads(checkpoint.record_text(found.record))
    del values["plugins"], values["environment"]
    for recorded in (values["spec"], values["given"]):  # a key that has come since
        del recorded["train"]["iterations"], recorded["train"]["fuse"], recorded["data"]["workers"]
    old = checkpoint._decode(first.checkpoint, values)
    assert (old.plugins, old.environment) == ((), {})
    checkpoint.write(first.checkpoint, replace(found, record=old))
    result, events = train(spec, resume="latest")
    assert result.status == "finished" and not [text for text in notes(events) if "other machine code" in text]


# Paths --------------------------------------------------------------------------------------------------------------


def test_paths_of_images_are_relative_to_the_spec_and_recorded_whole(tmp_path, monkeypatch):
    images = {f"{s}/{c}/{i}.jpg": jpeg(i, 8, 8) for s in ("train", "val") for c in "abc" for i in range(8)}
    write_folder(tmp_path / "project" / "pictures", images)
    source = "{type: folder, path: pictures}"
    spec = tmp_path / "project" / "tiny.yaml"
    spec.write_text(SPEC.replace("{type: generated, classes: 3, images: 44, val_images: 13}", source))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "longer.yaml").write_text("netspec: 1\nextends: ../project/tiny.yaml\ntrain: {epochs: 4}\n")
    monkeypatch.chdir(tmp_path)
    first, _ = train(spec, iterations=4)
    monkeypatch.chdir(tmp_path / "mine")
    second, _ = train(None, resume=str(first.folder), iterations=6)
    assert second.iteration == 6
    assert evaluate(first.folder).images == 24
    extended, _ = train(tmp_path / "mine" / "longer.yaml", iterations=1)
    for result in (first, extended):
        recorded = checkpoint.read(result.checkpoint).record.spec["data"]["source"]["path"]
        assert os.path.isabs(recorded) and os.path.samefile(recorded, tmp_path / "project" / "pictures")


def test_paths_of_the_command_line_are_relative_to_the_working_directory(spec, tmp_path, monkeypatch):
    images = {f"{s}/{c}/{i}.jpg": jpeg(i, 8, 8) for s in ("train", "val") for c in "abc" for i in range(8)}
    write_folder(tmp_path / "elsewhere" / "pictures", images)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for options in ({"data": "pictures"}, {"overrides": ["data.source={type: folder, path: pictures}"]}):
        result, _ = train(spec, iterations=1, **options)
        recorded = checkpoint.read(result.checkpoint).record.spec["data"]["source"]["path"]
        assert recorded == str(tmp_path / "elsewhere" / "pictures")


def test_a_path_that_was_edited_since_counts(spec, tmp_path):
    images = {f"{s}/{c}/{i}.jpg": jpeg(i, 8, 8) for s in ("train", "val") for c in "abc" for i in range(8)}
    write_folder(tmp_path / "old", images)
    written = SPEC.replace("{type: generated, classes: 3, images: 44, val_images: 13}", "{type: folder, path: old}")
    spec.write_text(written)
    train(spec, listener=stopping_after(2))
    (tmp_path / "old").rename(tmp_path / "new")
    spec.write_text(written.replace("path: old", "path: new"))
    result, events = train(spec, resume="latest")
    assert result.status == "finished"
    assert any(text.startswith("changed: data.source.path: ") for text in notes(events))


# Times --------------------------------------------------------------------------------------------------------------


def began_at(out, stamp, seconds, history=True):
    """A run directory named by a stamp that began at another time than its name says."""
    folder = out / "net" / stamp
    folder.mkdir(parents=True)
    (folder / "spec.resolved.yaml").write_text("")
    os.utime(folder / "spec.resolved.yaml", (seconds, seconds))
    if history:
        (folder / "history.jsonl").write_text(json.dumps({"what": "start", "time": seconds}) + "\n")
        os.utime(folder / "spec.resolved.yaml", (1, 1))
    return folder


def test_the_newest_run_is_the_one_that_began_last(tmp_path):
    tokyo = began_at(tmp_path, "2026-11-27_02-24-40", 1000)
    utc = began_at(tmp_path, "2026-11-26_17-24-43", 1003, history=False)
    pacific = began_at(tmp_path, "2026-11-26_09-24-46", 1006)
    assert run_folders(tmp_path) == [pacific, utc, tokyo]
    assert [run.started for run in runs(tmp_path)] == [1006, 1003, 1000]
    (tokyo / "history.jsonl").write_text('{"what": "start", "ti')
    (tokyo / "metrics.jsonl").write_text('{"event": "note", "time": 1009, "text": ""}\n')
    assert run_folders(tmp_path) == [tokyo, pacific, utc]


def test_resuming_takes_the_run_that_began_last(spec, monkeypatch):
    began = []
    for zone, iterations in (("UTC-9", 1), ("UTC+8", 2)):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        began.append(train(spec, iterations=iterations)[0])
    monkeypatch.delenv("TZ")
    time.tzset()
    assert began[0].folder.name > began[1].folder.name
    result, _ = train(spec, resume="latest", iterations=3)
    assert result.folder == began[1].folder


# Iterations ---------------------------------------------------------------------------------------------------------


def test_a_run_stopped_by_iterations_goes_on_to_its_end_where_none_are_given(spec, whole):
    out = spec.parent / "others"
    first, _ = train(spec, iterations=7, out=out)
    second, events = train(spec, resume="latest", out=out)
    assert (first.iteration, second.iteration) == (7, 15)
    assert "changed: train.iterations: 7 -> none" in notes(events)
    assert same(final(second), final(whole))


def test_iterations_that_are_not_done_are_remembered(spec):
    train(spec, iterations=9, listener=stopping_after(4))
    result, events = train(spec, resume="latest")
    assert told(events, RunStarted)[0].total_iterations == result.iteration == 9


def test_iterations_of_the_spec_itself_stay(spec):
    spec.write_text(SPEC.replace("epochs: 3", "epochs: 3, iterations: 7"))
    train(spec)
    again, _ = train(spec, resume="latest")
    assert again.iteration == 7
    more, _ = train(spec, resume="latest", iterations=9)
    assert more.iteration == 9
    on, _ = train(spec, resume="latest")
    assert on.iteration == 9  # the spec's own 7 are done


# Views --------------------------------------------------------------------------------------------------------------


def test_every_evaluation_says_how_many_views_it_is_of(spec):
    first, events = train(spec, overrides=["data.views=10", "data.resize=10"], iterations=2)
    assert [event.views for event in told(events, EvaluationDone)] == [1]
    assert "(13 images, centre crop)" in (first.folder / "log.txt").read_text()
    line = next(line for line in (first.folder / "metrics.jsonl").read_text().splitlines() if '"evaluation"' in line)
    assert json.loads(line)["views"] == 1
    assert evaluate(first.folder).views == 10
    one = evaluate(first.folder, views=1)
    assert (one.views, one.errors) == (1, first.errors)


# The machine --------------------------------------------------------------------------------------------------------


def test_other_machine_code_is_told(spec, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    first, events = train(spec, listener=stopping_after(7))
    recorded = checkpoint.read(first.checkpoint).record.environment
    assert recorded["OPENBLAS_CORETYPE"] == "Haswell" and "OPENBLAS_NUM_THREADS" not in recorded
    assert recorded["devices"] == "cpu" and "numpy" in recorded and "BLAS" in recorded
    environment = json.loads((first.folder / "environment.json").read_text())
    assert environment["variables"]["OPENBLAS_NUM_THREADS"] == "1" and environment["BLAS"] == recorded["BLAS"]
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    _, events = train(spec, resume="latest", iterations=8)
    line = 'other machine code than before (OPENBLAS_CORETYPE: "Haswell" -> none): numbers may differ'
    assert line in notes(events)
    _, events = train(spec, resume="latest", iterations=9)
    assert not [text for text in notes(events) if "machine code" in text]


def test_variables_that_choose_code_are_told_at_the_start(spec, monkeypatch):
    monkeypatch.setenv("NUMBA_OPT", "3")
    _, events = train(spec, iterations=1)
    assert "the environment chooses machine code: NUMBA_OPT=3" in notes(events)


def test_the_blas_is_named_with_the_kernels_that_it_chose():
    assert re.fullmatch(r"\w+ [\d.]+ ?\w*|", code_choices(["cpu"])["BLAS"])


def test_a_directory_is_not_made_a_run_by_asking_for_it(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(NetspecError, match="not a run directory"):
        train(None, resume=str(tmp_path / "photos"))
    assert not list((tmp_path / "photos").iterdir())


def test_what_is_resumed_is_read_once_it_is_locked(spec, whole, monkeypatch):
    read = []
    monkeypatch.setattr("netspec.runners.training.resume.newest_whole", lambda folder: read.append(folder))
    with RunDirectory(whole.folder), pytest.raises(NetspecError, match="is training here"):
        train(spec, resume="latest")
    assert not read
