"""Plugins by the command line: of several files, named by the environment, and those that only a run names."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_tools import MINI, Said, netspec, process, python

from netspec import open_run, trust
from netspec.api import predictor
from netspec.errors import NetspecError
from netspec.page.watched import Watched
from netspec.registry import plugin_code
from netspec.registry import trust as trusting

LAYER = """
from netspec.plugin import Elementwise, device, register
{imports}

@register("{name}")
class Own(Elementwise):
    def forward(x): return x if x > 0 else {slope} * x
    def backward(x, dy): return dy if x > 0 else {slope} * dy
"""
QUIET = ("--workers", 0, "--epochs", 1)


def write(folder: Path, **files: str) -> Path:
    """Files of Python code by the names of their modules."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def layer(name: str, imports: str = "", slope: str = "0.1") -> str:
    return LAYER.format(name=name, imports=imports, slope=slope)


def forget() -> None:
    """A new process would know no plugin."""
    for module in list(plugin_code._loaded):
        plugin_code._discard(module)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, of a user who has trusted nothing yet."""
    monkeypatch.chdir(tmp_path)
    another_user("me", monkeypatch)
    Path("mini.yaml").write_text(MINI.replace("type: relu", "type: own"))
    yield tmp_path
    forget()


def another_user(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setenv("NETSPEC_STATE_DIR", str(Path.cwd() / f"state of {name}"))


def train(*plugins: object, code: int = 0) -> Said:
    said = netspec("run", "mini.yaml", *(word for one in plugins for word in ("--plugin", one)), *QUIET)
    assert said.code == code, said
    return said


def only_run() -> Path:
    (run,) = Path("runs/mini").iterdir()
    return run


def recorded() -> list[dict]:
    return json.loads((only_run() / "environment.json").read_text())["plugins"]


# Several files --------------------------------------------------------------------------------------------------------


def test_a_plugin_imports_what_lies_beside_it_however_it_says_so() -> None:
    """Absolutely, relatively, from a folder, inside a function; a name of the standard library stays the library's."""
    imports = "import random\nimport slopes\nimport deep.numbers\nfrom . import random as own\nfrom slopes import SLOPE"
    check = "\nassert random.uniform and own.HERE and deep.numbers.STEEP and slopes.late() == 7\n"
    write(Path("mine"), own=layer("own", imports, "SLOPE") + check, random="HERE = True", unused="1 / 0")
    slopes = "from deep import numbers\nSLOPE = 0.3\ndef late():\n    import lazy\n    return lazy.SEVEN"
    write(Path("mine"), slopes=slopes, lazy="SEVEN = 7")
    write(Path("mine/deep"), __init__="", numbers="import slopes\nfrom ..lazy import SEVEN\nSTEEP = SEVEN")
    train("mine/own.py")
    (plugin,) = recorded()
    names = {"own.py", "random.py", "slopes.py", "lazy.py", "deep/__init__.py", "deep/numbers.py"}
    assert set(plugin["digests"]) == names and plugin["file"] == str(Path("mine/own.py").resolve())
    (copy,) = (only_run() / "plugins").iterdir()
    assert {str(file.relative_to(copy)) for file in copy.rglob("*.py")} == names


def test_helpers_of_one_name_are_two() -> None:
    Path("mini.yaml").write_text(
        MINI.replace("type: relu}", "type: own}\n  - {name: relu2, type: other}").replace("from: relu1", "from: relu2")
    )
    for name, value in (("own", 2), ("other", 3)):
        check = f"\nassert helper.VALUE == {value}\n"
        write(Path(name), **{name: layer(name, "import helper") + check}, helper=f"VALUE = {value}")
    train("own/own.py", "other/other.py")
    assert [set(plugin["digests"]) for plugin in recorded()] == [{"own.py", "helper.py"}, {"other.py", "helper.py"}]
    forget()
    assert netspec("eval", only_run()).code == 0


def test_two_plugins_of_a_folder_may_import_each_other() -> None:
    write(Path("both"), own=layer("own", "import second"), second=layer("second"))
    for order in (("own", "second"), ("second", "own")):
        said = netspec("validate", "mini.yaml", *(word for one in order for word in ("--plugin", f"both/{one}.py")))
        assert said.code == 0, said
        forget()


@pytest.mark.parametrize("is_package", [True, False], ids=["package", "files"])
def test_a_folder_is_a_plugin(is_package: bool) -> None:
    """A package runs its ``__init__.py``, which may call it by its name; else each file that is no helper, no test."""
    slopes = "from mine._slopes import SLOPE" if is_package else "from _slopes import SLOPE"
    write(Path("mine"), own=layer("own", slopes, "SLOPE"), _slopes="SLOPE = 0.2", test_own="1 / 0", conftest="1 / 0")
    write(Path("mine/.hidden"), x="1 / 0")
    Path("mine/table.txt").write_text("numbers")
    if is_package:
        write(Path("mine"), __init__="import mine.own\nfrom . import own\nassert mine.own is own")
    train("mine")
    (plugin,) = recorded()
    names = {"own.py", "_slopes.py", "test_own.py", "conftest.py", "table.txt"}
    assert plugin["is_folder"] and set(plugin["digests"]) - {"__init__.py"} == names
    shutil.rmtree("mine")
    forget()
    assert "the run's own copy, since " in netspec("eval", only_run()).out
    assert netspec("layers", "show", "mine").code == 1


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "mine: no Python file in it; a project is installed: pip install -e FOLDER"),
        ({"_own": layer("own")}, "mine: registers no layer nor anything else"),
        ({"own": layer("own", "import gone")}, "mine: cannot be imported: ModuleNotFoundError: No module named 'gone'"),
        ({"own": layer("own", "from . import gone")}, "cannot import name 'gone' from"),
        ({"own": layer("own"), "zeta": layer("own")}, "layer type 'own' is registered twice: by "),
    ],
    ids=["empty", "helpers", "import", "relative", "twice"],
)
def test_what_is_wrong_with_a_folder_is_one_line_and_leaves_nothing(files: dict[str, str], reason: str) -> None:
    write(Path("mine"), **files)
    said = netspec("validate", "mini.yaml", "--plugin", "mine")
    assert said.code == 1 and said.err.startswith("error: ") and said.err.count("\n") == 1 and reason in said.err
    shutil.rmtree("mine")
    write(Path("mine"), own=layer("own"))
    assert netspec("validate", "mini.yaml", "--plugin", "mine").code == 0


def test_data_workers_know_the_modules_of_a_plugin() -> None:
    augmentation = """
from netspec.plugin import Augmentation, register
from helper import ADDED
@register("brighter")
class Brighter(Augmentation):
    \"\"\"A little more light.\"\"\"
    words = 0
    def pixels(self, words, pixels): pixels += ADDED
"""
    write(Path("mine"), own=layer("own"), brighter=augmentation, helper="ADDED = 1")
    augment = ("--set", "data.augment={brighter: on}")
    said = netspec("run", "mini.yaml", "--plugin", "mine", "--workers", 1, "--epochs", 1, *augment)
    assert said.code == 0, said


def test_kernels_follow_a_helper_that_changes(tmp_path: Path) -> None:
    """In one process, and in a later one that finds the compiled kernels of the earlier."""
    code = "import helper\nfrom helper import times\n@device\ndef slope(x):\n    return helper.SLOPE * times(x)\n"
    file = write(Path("mine"), own=layer("own", code, "slope(1.0)")) / "own.py"
    script = """
import sys
import numpy as np
from netspec.check.single import SingleLayer
from netspec.contract.tensor import Tensor
from netspec.device.cpu.device import CpuDevice
from netspec.registry import load_plugin
def seen():
    load_plugin(sys.argv[1])
    x, device = np.array([[-1.0]], np.float32), CpuDevice(0)
    print(round(float(SingleLayer("own", {}, [Tensor(x.shape)], device).forward({"x": x})["y"][0, 0]), 3))
    device.close()
for text in sys.argv[2:]:
    open("mine/helper.py", "w").write(text)
    seen()
"""
    Path("script.py").write_text(script)
    helper = "from netspec.plugin import device\nSLOPE = {}\n@device\ndef times(x): return {} * x\n"
    texts = [helper.format(slope, factor) for slope, factor in ((0.5, 2), (0.5, 3), (2, 3))]
    cache = {"NETSPEC_CACHE_DIR": str(tmp_path / "cache")}
    assert python("script.py", file, *texts, **cache).out.split() == ["-1.0", "-1.5", "-6.0"]
    assert python("script.py", file, *reversed(texts), **cache).out.split() == ["-6.0", "-1.5", "-1.0"]


# The environment ------------------------------------------------------------------------------------------------------


def test_the_environment_names_plugins_for_every_command_and_for_python() -> None:
    write(Path("one"), own=layer("own"))
    write(Path("two"), second=layer("second"))
    both = {"NETSPEC_PLUGINS": os.pathsep.join(["one/own.py", "", "two"])}
    assert process("validate", "mini.yaml", **both).code == 0
    assert process("validate", "mini.yaml", "--plugin", "one/own.py", **both).code == 0
    shown = process("layers", **both).out
    assert " own " in shown and " second " in shown
    made = process("run", "mini.yaml", *QUIET, **both)
    assert made.code == 0, made.err
    assert [Path(plugin["file"]).name for plugin in recorded()] == ["own.py"]  # what the spec names
    assert process("validate", "mini.yaml").code == 1


def test_what_is_wrong_with_one_of_them_is_told_with_the_variable() -> None:
    write(Path("one"), own="1 / 0")
    for value, reason in (("gone.py", "gone.py: no such plugin file"), ("one/own.py", "cannot be imported: ZeroDiv")):
        said = process("validate", "quickstart", NETSPEC_PLUGINS=value)
        assert said.code == 1 and said.err.startswith("error: NETSPEC_PLUGINS: ") and reason in said.err
        assert process("--help", NETSPEC_PLUGINS=value).code == 0
        found = json.loads(process("doctor", "--json", NETSPEC_PLUGINS=value).out)["findings"]
        (finding,) = [one for one in found if one["name"] == "plugins"]
        assert finding["status"] == "broken" and reason in finding["text"] and "NETSPEC_PLUGINS" in finding["remedy"]


def test_doctor_tells_what_the_environment_names_and_where_trust_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("one"), own=layer("own"))
    monkeypatch.setenv("NETSPEC_PLUGINS", "one/own.py")
    said = netspec("doctor")
    place = Path.cwd() / "state of me" / "trusted-plugins"
    assert f"NETSPEC_PLUGINS names one/own.py; 1 plugin that you have run or trusted, by {place}" in said.out
    place.chmod(0o777)
    assert "since others can write to it" in netspec("doctor").out


# Runs of others -------------------------------------------------------------------------------------------------------


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
