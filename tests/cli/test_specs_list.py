"""``netspec specs``: what comes with netspec, a line each."""

import json
import re

import pytest
from cli_tools import imported_by, netspec
from terminals import at_width

from netspec.spec.files import shipped


def test_every_shipped_spec_has_a_line_below_the_one_that_it_extends():
    said = netspec("specs")
    assert said.code == 0 and said.err == ""
    rows = re.findall(r"^ ( *)([\w-]+?)  +(\S.*)$", said.out, re.MULTILINE)[1:]
    assert sorted(name for _, name, _ in rows) == sorted(shipped())
    depth = {name: len(indent) // 2 for indent, name, _ in rows}
    nets = ["autoencoder", "cifar10-modern", "mobilenet_v2", "nin", "quickstart", "regression", "resnet18-torchvision"]
    bases = [*nets, "vgg16", "video", "alexnet-torchvision", "resnet18", "cifar10-quick", "alexnet"]
    assert [name for name in depth if depth[name] == 0] == bases
    names = [name for _, name, _ in rows]
    assert names[names.index("alexnet-star-pretrain") + 1] == "alexnet-star" and depth["alexnet-star"] == 2
    assert all(len(text) < 90 and text.count("(") == text.count(")") for _, _, text in rows)


@pytest.mark.parametrize("columns", [80, 60, 50])
def test_names_are_whole_on_terminals(columns):
    lines = at_width(columns, "specs").splitlines()
    assert max(map(len, lines)) <= columns
    assert {line.split()[0] for line in lines if line.split()} >= set(shipped())
    if columns == 80:
        assert len(lines) < len(shipped()) + 28


def test_specs_as_json():
    found = {one["name"]: one for one in json.loads(netspec("specs", "--json").out)}
    assert found["alexnet-no-lrn"]["extends"] == "alexnet"
    assert found["alexnet-no-lrn"]["summary"] == "AlexNet without response normalisation"
    assert found["alexnet-no-lrn"]["about"].endswith("which gains 1.4 and 1.2 % (paper, section 3.3).")
    assert found["cifar10-quick"]["extends"] is None and found["cifar10-quick"]["path"].endswith("cifar10-quick.yaml")


def test_specs_of_a_folder_need_not_hold(tmp_path):
    (tmp_path / "one.yaml").write_text("# A net. It is mine.\nextends: nothing.yaml\n")
    (tmp_path / "two.yaml").write_text("# Half: it is\n#   netspec run two\n\nextends: 'one.yaml'   # of it\nlayers: [")
    (tmp_path / "bytes.yaml").write_bytes(b"# caf\xe9\x1b[31m\n")
    (tmp_path / "loop.yaml").write_text("extends: loop\n")
    (tmp_path / "folder.yaml").mkdir()
    found = {one["name"]: one for one in json.loads(netspec("specs", tmp_path, "--json").out)}
    assert found["one"]["summary"] == "A net" and found["two"]["summary"] == "Half: it is"
    assert (found["one"]["extends"], found["two"]["extends"]) == ("nothing", "one")
    assert found["bytes"]["summary"] == "caf\ufffd\\x1b[31m" and found["folder"]["summary"] == ""
    assert "\x1b" not in netspec("specs", tmp_path).out


def test_no_specs_and_no_folder_are_told(tmp_path):
    assert netspec("specs", tmp_path).out == f"no specs in {tmp_path}: no file there ends in .yaml\n"
    assert netspec("specs", tmp_path / "none") == (2, "", f"error: {tmp_path / 'none'}: no such folder\n")


def test_specs_are_listed_at_once():
    assert not imported_by("specs", "--json") & {"numpy", "numba", "yaml", "PIL", "jsonschema", "netspec.spec"}
