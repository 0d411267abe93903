"""Plugins by the command line: of several files, and named by the environment."""

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_tools import MINI, netspec, process, python
from layer_files import QUIET, folder, forget, layer, only_run, recorded, train, write

__all__ = ["folder"]

pytestmark = pytest.mark.usefixtures("folder")


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


def test_standard_input_is_no_plugin_of_several_processes() -> None:
    for rank in range(2):
        said = process("run", "mini.yaml", "--plugin", "-", PMI_RANK=str(rank), PMI_SIZE="2")
        assert said.code == 2 and "name the plugin's file" in said.err


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
