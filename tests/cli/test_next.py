"""Each command that a run prints as the next one is typed as it stands, and works."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from cli_tools import MINI, netspec
from data_samples import jpeg, write_folder

from netspec.api import run
from netspec.errors import NetspecError
from netspec.events import IterationDone, RunFinished
from netspec.registry import plugin_code
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint

SPEC = MINI.replace("type: relu", "type: bend")
LAYER = """
from netspec.plugin import Elementwise, register
@register("bend")
class Bend(Elementwise):
    def forward(x): return max(x, 0)
    def backward(y, dy): return dy if y > 0 else 0
"""
ODD = Path("a folder; it's odd")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory: a spec whose layer is a plugin's, the plugin, images, all under names that need quotes."""
    monkeypatch.chdir(tmp_path)
    ODD.mkdir()
    (ODD / "my net.yaml").write_text(SPEC)
    (ODD / "my layer.py").write_text(LAYER)
    images = {f"{s}/{c}/{i}.jpg": jpeg(i, 12, 12) for s in ("train", "val") for c in "ab" for i in range(16)}
    write_folder(tmp_path / ODD / "my images", images)
    yield tmp_path
    forget()


def forget():
    """A new process would know no plugin."""
    for module in list(plugin_code._loaded):
        plugin_code._discard(module)


def typed(command):
    """What a shell makes of a command, run as by a new process."""
    forget()
    words = shlex.split(command.replace("IMAGE...", shlex.quote(str(ODD / "my images/val/a/0.jpg"))))
    assert words[0] == "netspec"
    said = netspec(*words[1:])
    assert said.code == 0, (command, said)
    return said


def next_of(said):
    """The commands that a run printed, by what they are for."""
    lines = re.findall(r"^  (netspec .+?)(?: {3,}|\n {6})(\S.*)$", said.out.partition("\nnext:\n")[2], re.MULTILINE)
    return {why: command for command, why in lines}


def train(*options):
    said = netspec("run", ODD / "my net.yaml", "--plugin", ODD / "my layer.py", "--workers", 0, *options)
    assert said.code == 0, said
    return next_of(said)


def goes_on(command, first, last):
    """A resume command trains from one iteration to another."""
    out = typed(command).out
    assert f"going on after iteration {first}" in out and f"iteration {last}/{last}" in out


def test_with_every_option(folder):
    commands = train(
        *("--data", ODD / "my images", "--out", "-runs, of mine", "--devices", "cpu:0,cpu:0", "--iterations", 3),
        *("--epochs", 2, "--seed", 5, "--batch", 4, "--set", "name=other", "--set", "train.solver.momentum=0.5"),
        *("--runner", "serial", "--trace", ODD / "trace.json"),
    )
    assert list(commands) == [
        "its errors once more",
        "what it sees in your images",
        "go on to the end of its 2 epochs",
        "go on for as many iterations again",
    ]
    assert all("'./-runs, of mine/other/" in command for command in commands.values())
    assert "(32 images, centre crop" in typed(commands["its errors once more"]).out
    assert re.search(r"\d %  [ab]\n", typed(commands["what it sees in your images"]).out)
    again = Path(shutil.copytree("-runs, of mine", "copy"))
    goes_on(commands["go on for as many iterations again"], 3, 6)
    shutil.rmtree("-runs, of mine")
    again.rename("-runs, of mine")
    goes_on(commands["go on to the end of its 2 epochs"], 3, 16)


def test_at_the_end_of_all_epochs():
    goes_on(train("--epochs", 1)["go on training"], 6, 12)


def test_at_the_end_of_the_specs_own_iterations(folder):
    (ODD / "my net.yaml").write_text(SPEC.replace("epochs: 2", "epochs: 2, iterations: 4"))
    goes_on(train()["go on training"], 4, 8)
    (ODD / "my net.yaml").write_text(SPEC.replace("epochs: 2", "epochs: 1, iterations: 6"))
    goes_on(train()["go on training"], 6, 12)


def test_cut_short_by_as_many_iterations_as_there_are():
    commands = train("--iterations", 12)
    goes_on(commands["go on training"], 12, 24)


def test_without_validation_images_the_training_images_are_evaluated():
    commands = train("--set", "data.source.val_images=0")
    assert "(48 images" in typed(commands["its errors over the training images"]).out


def test_with_ten_views_it_says_so():
    commands = train("--set", "data.views=10", "--set", "data.resize=10")
    assert "(16 images, 10 views" in typed(commands["its errors over 10 views of each image"]).out


def test_a_plugin_that_changed_during_the_run_is_taken_from_the_runs_copies():
    def change(event):
        if isinstance(event, IterationDone) and event.iteration == 2:
            (ODD / "my layer.py").write_text(LAYER + "# changed\n")
        if isinstance(event, RunFinished):
            ends.append(event)

    ends = []
    options = {"plugins": [ODD / "my layer.py"], "workers": 0, "listener": change}
    run(ODD / "my net.yaml", **options)
    for command in ends[0].commands:
        assert "--plugin" not in command
        said = typed(command)
        assert "/my layer.py, the run's own copy, since " in said.out + said.err


class StopError(NetspecError):
    """Something went wrong."""


@pytest.fixture
def failed(monkeypatch):
    """Has a run fail after an iteration; gives what is told of it: the message and the last event."""
    start = Session.start

    def fail(at, damage=lambda folder: None):
        def failing(session, iteration, *rest, **options):
            if iteration == at:
                damage(next(Path("runs/mini").iterdir()))
                raise StopError("it went wrong")
            return start(session, iteration, *rest, **options)

        monkeypatch.setattr(Session, "start", failing)
        options = {"plugins": [ODD / "my layer.py"], "workers": 0, "devices": "cpu:0,cpu:0"}
        events = []
        with pytest.raises(NetspecError) as caught:
            run(ODD / "my net.yaml", listener=events.append, **options)
        monkeypatch.setattr(Session, "start", start)
        return str(caught.value), events[-1]

    return fail


def command_in(message):
    return re.search(r"netspec run --resume \S+( --devices \S+)?", message)[0]


def test_after_a_failure_it_goes_on_from_the_last_checkpoint(failed):
    message, end = failed(8)
    assert re.match(r"it went wrong; the last whole checkpoint is iteration-00000006.safetensors: go on", message)
    assert list(end.commands) == [command_in(message)]
    goes_on(command_in(message), 6, 12)


def test_after_a_failure_without_a_checkpoint_it_starts_again(failed):
    message, _ = failed(2)
    assert "there is no checkpoint yet: " in message and message.endswith(" starts again")
    assert "iteration 12/12" in typed(command_in(message)).out


def test_after_a_failure_a_damaged_checkpoint_is_not_recommended(failed, monkeypatch):
    def damaged(path):
        raise checkpoint.Damaged(path, "damaged")

    monkeypatch.setattr(checkpoint, "read_record", damaged)
    message, end = failed(8)
    assert message == "it went wrong; none of its checkpoints can be read"
    assert not end.commands


def test_a_directory_that_is_gone_is_not_recommended(failed):
    message, end = failed(2, shutil.rmtree)
    assert re.fullmatch(r"it went wrong; its directory runs/mini/\S+ is gone", message)
    assert end.folder == "" and not end.commands
