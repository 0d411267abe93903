"""What a shell is answered, in any of them, and what is not done for that."""

import contextlib
import io
import shutil
import subprocess

import pytest
from cli_tools import MINI, netspec, process, python
from metric_runs import write_run
from shells import Shell

from netspec.cli._completion import answer
from netspec.cli._main import cli
from netspec.cli.completion import SHELLS
from netspec.registry import augmentation_types, layer_types
from netspec.spec.files import shipped

RUN = "runs/mini/2026-01-30_12-00-00"
PLUGIN = "raise SystemExit('a plugin was run')\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("shell")
    (made / "mini.yaml").write_text(MINI)
    (made / "broken.yaml").write_text("layers: [\n")
    (made / "loop.yaml").write_text("netspec: 1\nextends: loop.yaml\nlayers:\n  - {name: one, type: nothing}\n  - 3\n")
    (made / "more.yaml").write_text(
        "netspec: 1\nextends: mini.yaml\nlayers:\n  - {name: relu1, remove: true}\n  - {name: own, type: conv}\n"
    )
    (made / "my photo.jpg").write_text("")
    (made / "layer.py").write_text(PLUGIN)
    write_run(made / RUN, 0.01, 1)
    (made / RUN / "tags.json").write_text('{"tags": ["paper"]}')
    return made


@pytest.fixture(autouse=True)
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def asked(line, shell="fish", **variables):
    """The answer's first line, and the words of the others."""
    given = {"_NETSPEC_COMPLETE": f"{shell}_complete", "_NETSPEC_LINE": line, **variables}
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name, value in given.items():
            patched.setenv(name, value)
        answer(cli)
    assert err.getvalue() == ""
    kind, *lines = out.getvalue().splitlines()
    return kind, [line.partition("\t")[0] for line in lines]


def words(line, shell="fish", **variables):
    return asked(line, shell, **variables)[1]


def test_commands_and_options():
    assert words("netspec ru") == ["run", "runs"]
    assert words("netspec layers ") == ["new", "show", "try", "check", "bench"]
    assert words("netspec figure conf") == ["confusion"]
    assert words("netspec run --see") == ["--seed"]
    assert words("netspec help layers s") == ["show"] and "run" in words("netspec help ")
    assert "--label" in words("netspec figure filters --")
    assert words("netspec info --phase p") == ["predict"]


def test_words_come_with_what_they_are():
    said = process(_NETSPEC_COMPLETE="zsh_complete", _NETSPEC_LINE="netspec info alexnet-no-lr")
    assert said == (0, "files\nalexnet-no-lrn\tAlexNet without response normalisation\n", "")


def test_specs_and_runs():
    kind, found = asked("netspec validate ")
    assert kind == "files"
    kind, found = asked("netspec run ")
    assert kind == "files" and sorted(found) == sorted(shipped())
    assert asked("netspec eval ") == ("files", ["runs/mini"])
    assert asked("netspec info runs/") == ("files", ["runs/mini"])
    assert asked("netspec run --resume l") == ("files", ["latest"])
    assert asked("netspec runs ") == ("dirs", ["mini"])
    assert asked(f"netspec tag {RUN} ") == ("", ["paper"]) and words("netspec runs --tag p") == ["paper"]


def test_files_folders_and_what_is_neither():
    assert words("netspec eval RUN --tr") == words("netspec run --resume RUN --tru") == ["--trust"]
    assert words("netspec run quickstart --log ") == ["tensorboard"]
    assert asked("netspec run --plugin ") == ("files", []) and asked("netspec predict RUN ") == ("files", [])
    assert asked("netspec run --out ") == ("dirs", []) and asked("netspec run --data ") == ("files", [])
    assert asked("netspec run --note ") == ("", []) and asked("netspec run --epochs ") == ("", [])


def test_types_are_all_that_are_built_in():
    assert sorted(words("netspec layers show ")) == sorted([*layer_types(), *augmentation_types()])


def test_paths_of_set():
    kind, found = asked("netspec run mini.yaml --set ")
    assert kind == "nospace" and found == ["train.", "data.", "layers.", "defaults."]
    assert words("netspec run mini.yaml --set layers.") == [
        f"layers.{name}." for name in ("fc1", "relu1", "fc2", "loss")
    ]
    assert "layers.fc1.units=" in words("netspec run mini.yaml --set layers.fc1.")
    assert words("netspec run more.yaml --set layers.") == [f"layers.{name}." for name in ("fc1", "fc2", "loss", "own")]
    assert words("netspec run --set train.fuse=") == ["train.fuse=true", "train.fuse=false"]
    assert words("netspec run --set train.cuda.precision=b") == ["train.cuda.precision=bf16"]
    assert "train.schedule.type=step" in words("netspec run --set train.schedule.type=")
    assert "data.source.type=folder" in words("netspec run --set data.source.type=")
    assert words(f"netspec info {RUN} --set layers.f") == ["layers.fc1.", "layers.fc2."]
    assert words(f"netspec features {RUN} --layer f") == ["fc1", "fc2"]
    assert words("netspec run --set nothing.at.all") == words("netspec run --set train.batch.x=") == []


def test_attributes_of_a_layer_alone():
    assert words("netspec layers try leaky_relu --set s") == ["slope="]
    assert {"filters=", "size="} <= set(words("netspec layers bench conv --input 2x5x5x3 --set "))
    assert words("netspec layers try layer.py --set ") == []


def test_values():
    assert words("netspec run --devices cuda:0,cuda") == ["cuda:0,cuda:0", "cuda:0,cuda:1"]
    assert words("netspec run --seed=3") == ["--seed=3"]
    assert words("netspec sweep mini.yaml --seeds 0..4") == ["0..4"]
    assert words("netspec run --runner s") == ["serial"]


def test_bash_is_given_what_it_replaces():
    breaks = " \t\n\"'><=;|&(:"
    assert words("netspec run --devices cuda:0,cuda:", "bash", _NETSPEC_BREAKS=breaks) == ["0", "1"]
    assert words("netspec run --set train.fuse=t", "bash", _NETSPEC_BREAKS=breaks) == ["true"]
    assert words("netspec run --set 'train.fuse=t", "bash", _NETSPEC_BREAKS=breaks) == ["train.fuse=true"]
    assert words("netspec run --seed=3", "bash", _NETSPEC_BREAKS=" ") == ["--seed=3"]


@pytest.mark.parametrize("spec", ["broken.yaml", "loop.yaml", "none.yaml", "'", '"a', "\\", "layer.py", ".", "/dev"])
def test_a_broken_spec_or_line_is_no_reason_to_say_anything(spec):
    asked(f"netspec run {spec} --set layers.")
    asked(f"netspec run --set layers.x. {spec}")
    asked(f"netspec nothing {spec} ")


def test_nothing_of_a_plugin_is_run():
    asked("netspec run mini.yaml --plugin layer.py --set layers.")
    asked("netspec layers show layer.py ")


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ("netspec r", {"yaml"}),
        ("netspec run ", {"yaml"}),
        ("netspec eval ", {"yaml"}),
        ("netspec run quickstart --set layers.conv1.", set()),
    ],
)
def test_an_answer_imports_nothing_heavy(line, also):
    code = "import sys\nfrom netspec.cli import main\ntry: main()\nexcept SystemExit: print('MODULES', *sys.modules)"
    said = python("-c", code, _NETSPEC_COMPLETE="zsh_complete", _NETSPEC_LINE=line)
    modules = set(said.out.rpartition("MODULES ")[2].split())
    assert "netspec.cli._completion" in modules
    assert not modules & ({"numpy", "numba", "PIL", "rich", "jsonschema", "matplotlib"} | also)


def test_the_script_can_be_had_as_from_other_programs():
    assert process(_NETSPEC_COMPLETE="zsh_source") == netspec("completion", "zsh")


def test_the_script_is_for_the_shell_that_is_named_or_in_use(monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert netspec("completion") == netspec("completion", "fish")
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert netspec("completion").code == 2 and "name the shell: bash, zsh, fish" in netspec("completion").err


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_that_the_shell_reads(shell, folder):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (folder / shell).write_text(netspec("completion", shell).out)
    done = subprocess.run([shell, "-n", folder / shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SHELLS)
def test_lines_in_a_real_shell(name, folder):
    with Shell(name, folder) as shell:
        for line, last in {
            "netspec eva": "eval",
            "netspec info alexnet-no-lr": "alexnet-no-lrn",
            "netspec info mini.y": "mini.yaml",
            "netspec predict runs/mini my": "my photo.jpg",
            "netspec run --plugin la": "layer.py",
            "netspec run mini.yaml --set train.fus": "train.fuse=",
            "netspec run mini.yaml --set train.fuse=t": "train.fuse=true",
            "netspec run mini.yaml --set layers.fc2.u": "layers.fc2.units=",
            "netspec run --devices cuda:0,cuda:1": "cuda:0,cuda:1",
            "netspec layers show softmax_": "softmax_loss",
            "netspec figure architec": "architecture",
            "netspec run broken.yaml --set train.sg": "train.sgd.",
            "ls broken.y": "broken.yaml",
        }.items():
            assert shell.completed(line)[-1] == last, line
        if name != "zsh":  # which offers files where there are no folders
            assert shell.completed("netspec run --out my")[-1] == "my"
        for line in ("netspec eval runs/mi", "netspec data stats runs/mi"):
            assert shell.completed(line)[-1].rstrip("/") == "runs/mini", line


def test_a_shell_without_an_answer_completes_files_all_the_same(folder):
    with Shell("bash", folder) as shell:
        (folder / ".bin" / "netspec").write_text("#!/bin/sh\necho trouble >&2\nexit 1\n")
        assert shell.completed("netspec info mini.y") == ["netspec", "info", "mini.yaml"]
