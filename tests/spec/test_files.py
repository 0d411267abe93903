"""Which files are read as specs: regular ones of bounded size; a base of another kind shows nothing of its content."""

import os

import pytest
from cli_tools import MINI, netspec, process

from netspec.errors import NetspecError, SpecError
from netspec.spec import load


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")
    os.symlink("/dev/zero", "endless.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (4 * 2**20 + 1))
    return tmp_path


ODD = {
    "pipe.yaml": "is a FIFO, not a file",
    "endless.yaml": "is a device, not a file",
    "folder.yaml": "is a directory, not a file",
    "large.yaml": "larger than 4.00 MiB",
}


@pytest.mark.parametrize(("name", "reason"), ODD.items())
def test_what_is_no_file_of_a_spec_is_told_in_a_line(folder, name, reason):
    with pytest.raises(NetspecError) as caught:
        load(name)
    assert str(caught.value) == f"{name}: {reason}"
    (folder / "mine.yaml").write_text(f"netspec: 1\nextends: {name}\n")
    with pytest.raises(SpecError) as caught:
        load("mine.yaml")
    assert str(caught.value) == f"mine.yaml:2:10: cannot extend: {name}: {reason}"


def test_a_command_does_not_wait_for_a_pipe(folder):
    (folder / "mine.yaml").write_text("netspec: 1\nextends: pipe.yaml\n")
    for command in (["validate", "pipe.yaml", "mine.yaml"], ["run", "pipe.yaml"], ["info", "mine.yaml"]):
        said = process(*command)
        assert said.code == 1 and "pipe.yaml: is a FIFO, not a file" in said.err


def test_a_link_to_a_spec_is_followed(folder):
    (folder / "mini.yaml").write_text(MINI)
    os.symlink("mini.yaml", "linked.yaml")
    assert load("linked.yaml").name == "mini"


@pytest.mark.parametrize("base", ["/etc/passwd", "secret.txt", "secret"])
def test_a_base_that_is_no_yaml_file_is_not_read(folder, base):
    for name in ("secret.txt", "secret"):
        (folder / name).write_text("root: x\nnetspec: [swordfish]\n")
    (folder / "mine.yaml").write_text(f"netspec: 1\nextends: {base}\n")
    said = netspec("validate", "mine.yaml")
    assert said.code == 1 and "does not end in .yaml or .yml; rename it if it is a spec" in said.err
    assert "root" not in said.err and "swordfish" not in said.err
    (folder / "MINI.YML").write_text(MINI)
    (folder / "mine.yaml").write_text("netspec: 1\nextends: MINI.YML\n")
    assert load("mine.yaml").name == "mine"
