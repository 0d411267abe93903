"""Runs that somebody else made may name any code: none is run that this user has not named, or trusted."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_tools import MINI, netspec, process
from layer_files import another_user, folder, forget, layer, only_run, train, write

from netspec import open_run, trust
from netspec.api import predictor
from netspec.errors import NetspecError
from netspec.page.watched import Watched
from netspec.registry import plugin_code
from netspec.registry import trust as trusting

__all__ = ["folder"]


@pytest.fixture
def theirs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that somebody else made, unpacked here; its plugin leaves a mark where it is run."""
    mark = f"\nimport pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n"
    write(Path("theirs"), own=layer("own", "import helper", "helper.SLOPE") + mark, helper="SLOPE = 0.1")
    train("theirs/own.py")
    shutil.rmtree("theirs")
    (folder / "ran").unlink()
    another_user("me", monkeypatch)
    shutil.copytree("state of me", "state of them")
    shutil.rmtree("state of me")
    Path("mini.yaml").unlink()
    return Path(shutil.move(only_run(), folder / "downloaded"))


READING = (
    ("eval", "RUN"), ("predict", "RUN", "x.jpg"), ("run", "--resume", "RUN"), ("features", "RUN", "-o", "f.npz"),
    ("export", "RUN", "-o", "net.onnx"), ("table", "RUN"), ("info", "RUN"), ("plan", "RUN"), ("graph", "RUN"),
    ("show", "RUN", "--resolved", "--set", "train.batch=4"), ("data", "show", "RUN", "-o", "x.png"),
    ("figure", "architecture", "RUN", "-o", "x.png"), ("eval", "CHECKPOINT"),
)  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_plugin_that_only_a_run_names_is_not_run(words: tuple[str, ...], theirs: Path, folder: Path) -> None:
    (checkpoint,) = (theirs / "checkpoints").iterdir()
    said = netspec(*({"RUN": theirs, "CHECKPOINT": checkpoint}.get(word, word) for word in words))
    assert said.code == 1 and not (folder / "ran").exists()
    assert "own.py: the plugin for layer type 'own' has not been run: a run names it" in said.err
    assert "read it and 1 other file there, then add --trust" in said.err


def test_a_report_of_such_a_run_says_why_and_runs_nothing(theirs: Path, folder: Path) -> None:
    assert netspec("report", theirs, "-o", "page.html").code == 0
    assert not (folder / "ran").exists() and "then add --trust" in Path("page.html").read_text()
    assert netspec("report", theirs, "-o", "page.html", "--trust").code == 0
    assert (folder / "ran").exists() and "then add --trust" not in Path("page.html").read_text()


@pytest.mark.parametrize("trusted", [False, True])
def test_the_page_of_netspec_watch_runs_it_only_where_it_is_trusted(trusted: bool, theirs: Path, folder: Path) -> None:
    """Its sections are made by a process of their own, which is told."""
    with trusting.asking() if trusted else nullcontext():
        watched = Watched([theirs], {})
    request = json.dumps(asdict(watched._request()))
    code = "from netspec.page.background import main; main()"
    done = subprocess.run([sys.executable, "-c", code], input=request, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and (folder / "ran").exists() == trusted, done.stderr
    assert ("then add --trust" in done.stdout) != trusted


def test_trust_is_said_once_and_remembered_for_this_code_alone(theirs: Path, folder: Path) -> None:
    said = netspec("eval", theirs, "--trust")
    (copy,) = (theirs / "plugins").iterdir()
    lines = said.out.splitlines()
    assert said.code == 0 and (folder / "ran").exists()
    assert lines[0].startswith(f"plugin {copy}/own.py, the run's own copy, since ") and lines[0].endswith("is gone")
    assert lines[1] == f"{copy}/own.py: trusted from now on, as long as it stays as it is"
    forget()
    again = netspec("eval", theirs)
    assert again.code == 0 and "trusted from now on" not in again.out and "the run's own copy" in again.out
    forget()
    (copy / "helper.py").write_text("SLOPE = 0.2")
    for options in ((), ("--trust",)):
        tampered = netspec("eval", theirs, *options)
        assert tampered.code == 1 and f"{copy}/helper.py: is no longer what the run was made with" in tampered.err
    edit(theirs, lambda plugin: plugin["digests"].update({"helper.py": plugin_code._digest(str(copy / "helper.py"))}))
    assert "then add --trust" in netspec("info", renamed(copy, theirs)).err


def edit(run: Path, change: object) -> dict:
    """Change what the run says of its plugin."""
    record = json.loads((run / "start.json").read_text())
    change(record["plugins"][0])
    (run / "start.json").write_text(json.dumps(record))
    return record["plugins"][0]


def renamed(copy: Path, run: Path) -> Path:
    """The run with its copies where the record says that they lie."""
    (plugin,) = json.loads((run / "start.json").read_text())["plugins"]
    copy.rename(copy.with_name(plugin_code.digest_of("own.py", plugin["digests"])[:12]))
    return run


@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_link_is_followed_in_a_run(what: str, theirs: Path, folder: Path) -> None:
    (copy,) = (theirs / "plugins").iterdir()
    link = copy / "helper.py" if what == "file" else copy / "own.py"
    elsewhere = link.rename(folder / "elsewhere.py")
    link.symlink_to(elsewhere) if what == "file" else link.mkdir()
    said = netspec("eval", theirs, "--trust")
    assert said.code == 1 and f"{link}: is a {'link' if what == 'file' else 'directory'}" in said.err
    assert not (folder / "ran").exists()


def test_a_file_that_lies_beside_a_trusted_copy_is_not_imported(theirs: Path, folder: Path) -> None:
    """Such as one that takes the place of a package that the plugin imports."""
    (copy,) = (theirs / "plugins").iterdir()
    for name in ("netspec", "numpy", "math", "__init__"):
        (copy / f"{name}.py").write_text(f"import os\nos.mkdir({str(folder / 'hijacked')!r})")
    assert netspec("eval", theirs, "--trust").code == 0
    assert (folder / "ran").exists() and not (folder / "hijacked").exists()


def test_a_run_goes_on_without_writing_through_a_link(theirs: Path, folder: Path) -> None:
    (copy,) = (theirs / "plugins").iterdir()
    (folder / "victim").mkdir()
    copies = copy.rename(folder / "kept")
    copy.symlink_to(folder / "victim")
    write(Path("theirs"), own=(copies / "own.py").read_text(), helper=(copies / "helper.py").read_text())
    said = netspec("run", "--resume", theirs, "--plugin", "theirs/own.py", "--epochs", 2, "--workers", 0)
    assert said.code == 1 and "is a link, which is not followed" in said.err
    assert not list((folder / "victim").iterdir())


def test_naming_the_same_code_is_trust_and_other_code_is_not(theirs: Path, folder: Path) -> None:
    (copy,) = (theirs / "plugins").iterdir()
    own = Path(shutil.copytree(copy, "mine"))
    assert netspec("layers", "show", own / "own.py").code == 0
    forget()
    assert netspec("eval", theirs).code == 0


def test_a_record_of_trust_that_others_could_have_written_is_not_believed(theirs: Path, folder: Path) -> None:
    shutil.copytree("state of them", "state of me")
    assert netspec("info", theirs).code == 0
    forget()
    for place in (folder / "state of me", folder / "state of me" / "trusted-plugins"):
        place.chmod(0o777)
        assert netspec("info", theirs).code == 1
        place.chmod(0o755)
    (folder / "state of me" / "trusted-plugins").rename(folder / "state of me" / "real")
    (folder / "state of me" / "trusted-plugins").symlink_to(folder / "state of me" / "real")
    assert netspec("info", theirs).code == 1


def test_where_nothing_can_be_kept_trust_holds_for_a_command(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETSPEC_STATE_DIR", "/proc/none")
    assert process("info", theirs, "--trust").code == 0 and process("info", theirs).code == 1


def test_from_python(theirs: Path, folder: Path) -> None:
    with pytest.raises(NetspecError, match=r"then add --trust \(in Python: netspec.trust\)"):
        open_run(theirs).model  # noqa: B018
    (copy,) = (theirs / "plugins").iterdir()
    assert trust(open_run(theirs)) == [copy / "own.py"] and not (folder / "ran").exists()
    with open_run(theirs).model as model:
        assert model.classes
    forget()
    (checkpoint,) = (theirs / "checkpoints").iterdir()
    with predictor(checkpoint) as model:
        assert model.classes
    with pytest.raises(NetspecError, match="no such run"):
        trust(folder)


def test_a_spec_alone_imports_nothing(folder: Path) -> None:
    """Not by any key, and no file beside it."""
    write(Path("."), own=layer("own") + f"\nimport os\nos.mkdir({str(folder / 'ran')!r})\n")
    for text in ("plugins: [own.py]\n", "plugin: own.py\n", "extends: own.py\n", "imports: own\n", ""):
        Path("mini.yaml").write_text(text + MINI.replace("type: relu", "type: own"))
        said = netspec("validate", "mini.yaml")
        assert said.code == 1 and not (folder / "ran").exists()
    assert "a plugin's layer is found with --plugin FILE" in said.err
