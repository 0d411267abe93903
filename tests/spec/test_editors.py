"""Specs in an editor: yaml-language-server with the schema that ``netspec schema`` prints.

The server is a program of npm, looked up in PATH: ``npm install --global yaml-language-server``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import netspec
from language_server import LanguageServer
from places import ROOT

from netspec.registry import layer_types
from netspec.spec.files import shipped

PROGRAM = shutil.which("yaml-language-server") if shutil.which("node") else None
LINE = "# yaml-language-server: $schema=netspec.schema.json\n"
SPEC = """\
netspec: 1
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, inputs: image, filters: 8, size: 3}
  - name: conv2
    type: conv
    filters: 8
    size: 3
  - {name: fc, type: dense, units: 4}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train:
  batch: 12
data:
  augment: {mirror: on}
"""

served = pytest.mark.skipif(PROGRAM is None, reason="yaml-language-server or node is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("editor")
    (made / "netspec.schema.json").write_text(netspec("schema").out)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    assert PROGRAM is not None
    with LanguageServer(PROGRAM) as started:
        yield started


def test_the_page_says_the_line() -> None:
    assert LINE in (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    assert LINE.strip() in netspec("schema", "--help").out


@served
@pytest.mark.parametrize("path", shipped().values(), ids=shipped())
def test_shipped_specs_have_no_marks(server: LanguageServer, folder: Path, path: Path) -> None:
    assert not server.diagnostics(folder / path.name, LINE + path.read_text(encoding="utf-8"))


WRONG = {
    "an unknown attribute": ("    filters: 8\n", "    filtres: 8\n", r"filtres is not allowed"),
    "a missing attribute": (", size: 3}", "}", r'Missing property "size"'),
    "an attribute of another type": ("units: 4", "units: 4, size: 3", r"size is not allowed"),
    "a value of the wrong kind": ("filters: 8,", "filters: many,", r'Expected "integer"|must be "classes"'),
    "an unknown type of layer": ("type: dense", "type: linear", r"Value is not accepted"),
    "an unknown key": ("batch: 12", "batches: 12", r"batches is not allowed"),
    "a number out of bounds": ("batch: 12", "batch: 0", r"minimum of 1"),
    "an unknown augmentation": ("{mirror: on}", "{miror: on}", r"miror is not allowed"),
    "another version": ("netspec: 1", "netspec: 2", r"must be 1"),
    "a bracket that is open": ("[8, 8, 3]", "[8, 8, 3", r"end with a \]"),
}


@served
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_marked_at_its_line(server: LanguageServer, folder: Path, case: str) -> None:
    right, wrong, message = WRONG[case]
    assert not server.diagnostics(folder / "right.yaml", LINE + SPEC)
    text = (LINE + SPEC).replace(right, wrong)
    marked = server.diagnostics(folder / "wrong.yaml", text)
    line = (LINE + SPEC).partition(right)[0].count("\n")
    found = [one for one in marked if re.search(message, one["message"])]
    assert line in [one["range"]["start"]["line"] for one in found], marked


def proposed(server: LanguageServer, folder: Path, right: str, begun: str) -> set[str]:
    """What is proposed at the end of ``begun``, a beginning that stands where ``right`` stood."""
    text = (LINE + SPEC).replace(right, begun + "\n", 1)
    before = text[: text.index(begun) + len(begun)]
    return server.completions(folder / "begun.yaml", text, before.count("\n"), len(before.rpartition("\n")[2]))


@served
def test_types_of_layers_are_proposed(server: LanguageServer, folder: Path) -> None:
    built_in = {name for name, cls in layer_types().items() if cls.__module__.startswith("netspec.layers.")}
    assert proposed(server, folder, "    type: conv\n", "    type: ") >= built_in


@served
def test_attributes_of_the_type_are_proposed(server: LanguageServer, folder: Path) -> None:
    found = proposed(server, folder, "    size: 3\n", "    size: 3\n    ")
    assert {"stride", "pad", "groups", "rounding", "bias_init", "inputs", "device"} <= found
    assert not {"units", "keep", "size", "filters"} & found


@served
def test_keys_and_words_are_proposed(server: LanguageServer, folder: Path) -> None:
    assert {"epochs", "sgd", "schedule"} <= proposed(server, folder, "  batch: 12\n", "  batch: 12\n  ")
    assert {"floor", "ceil"} <= proposed(server, folder, "    size: 3\n", "    size: 3\n    rounding: ")


@served
def test_what_a_key_means_is_told(server: LanguageServer, folder: Path) -> None:
    line = (LINE + SPEC).splitlines().index("    filters: 8")
    assert "Kernels, and so channels of the output" in server.hover(folder / "told.yaml", LINE + SPEC, line, 6)
