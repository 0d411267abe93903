"""The pages of the docs: linked, complete against the code, and a site without a warning."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

import netspec
from netspec.registry import registered
from netspec.rundir import directory
from netspec.spec.json_schema import schema

DOCS = ROOT / "docs"
START, INDEX = ROOT / "README.md", DOCS / "index.md"
PAGES = [
    START,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```\w*\n.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:netspec|layers|runners|tests|benchmarks|docs|specs|requirements)/[\w./-]+)`")
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)|src=\"([^\"]+)\"")


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def links(page: Path) -> tuple[tuple[Path, str], ...]:
    """The files that a page links to, with the anchor in each; empty where there is none."""
    found = [one or other for one, other in LINK.findall(CODE.sub("", text(page)))]
    parts = [target.partition("#") for target in found if not target.startswith(("http:", "https:"))]
    return tuple(((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in parts)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them: later ones of a name have a number."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", text(page)), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles]
    return {f"{slug}-{slugs[:i].count(slug)}" if slug in slugs[:i] else slug for i, slug in enumerate(slugs)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    assert not [str(file) for file, _ in links(page) if not file.exists()]
    assert not [(file.name, anchor) for file, anchor in links(page) if anchor and anchor not in anchors(file)]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set[Path](), {START}
    while left:
        page = left.pop()
        reached.add(page)
        left |= {file for file, _ in links(page) if file.suffix == ".md"} - reached
    assert not names(set(PAGES) - reached)


def names(pages: set[Path]) -> list[str]:
    return sorted(str(page.relative_to(ROOT)) for page in pages)


def test_the_index_lists_every_page_once() -> None:
    listed = [file for file, _ in links(INDEX)]
    pages = set(PAGES) - {INDEX} | set(DOCS.rglob("*.ipynb"))
    assert names(set(listed)) == names(pages), "write a line for each page in docs/index.md"
    assert {file.name for file in listed if listed.count(file) > 1} <= {"questions.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = {path for part in CODE.findall(text(page)) for path in PATH.findall(part) if "NAME" not in path}
    assert not [path for path in named if not any((folder / path).exists() for folder in (ROOT, page.parent))]


def words(*names: str) -> set[str]:
    """All words of the pages that stand in code."""
    return {word for name in names for part in CODE.findall(text(DOCS / name)) for word in re.findall(r"\w+", part)}


def keys(part: Mapping[str, Any]) -> Iterator[str]:
    """The names of all keys in a JSON Schema."""
    for name, inner in part.get("properties", {}).items():
        yield name
        yield from keys(inner)
    for inner in (*part.get("anyOf", ()), *(case["then"] for case in part.get("allOf", ()) if "then" in case)):
        yield from keys(inner)
    if isinstance(part.get("additionalProperties"), dict):
        yield from keys(part["additionalProperties"])


def test_every_key_of_a_spec_is_documented() -> None:
    whole = schema()
    sections, layer = whole["properties"], {"properties": whole["$defs"]["layer"]["properties"]}
    assert {*sections, *keys(layer), *keys(sections["inputs"])} <= words("spec.md")
    assert {*keys(sections["train"]), *keys(whole["$defs"]["initialiser"])} <= words("training.md")
    assert {*keys(sections["data"])} <= words("data.md")


def test_every_file_of_a_run_is_documented() -> None:
    said = directory.__doc__ or ""
    named = re.findall(r"(?:^| {2,})([a-z][\w.-]*(?:\.\w+|/)|lock)(?= {2})", said, re.MULTILINE)
    assert {"lock", "checkpoints/", "start.json"} <= set(named)
    table = re.findall(r"^\| (`.*?) \|", text(DOCS / "training.md"), re.MULTILINE)
    assert set(named) <= {name for cell in table for name in re.findall(r"`([^`]+)`", cell)}


def test_every_environment_variable_is_documented() -> None:
    folders = ("netspec", "layers", "runners", "tests", "benchmarks", ".ci")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.suffix in (".py", "", ".sh")]
    read = [file.read_text(encoding="utf-8") for file in files if file.is_file() and file != Path(__file__)]
    used = {name for one in read for name in re.findall(r"\bNETSPEC_[A-Z_]*[A-Z][0-9]*\b", one)}
    assert len(used) >= 10
    assert {word for word in words("reference/environment.md") if word.startswith("NETSPEC_")} == used


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """docs/generated.py."""
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated"] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_generated_has_a_page_each(generated: ModuleType) -> None:
    rooms = [name for page in PAGES for name in generated.ROOM.findall(text(page))]
    assert sorted(rooms) == sorted(generated.PARTS)


def test_the_reference_tells_of_everything_that_a_spec_can_name(generated: ModuleType) -> None:
    titles = re.findall(r"^##+ (.*)$", generated.layers() + generated.others(), re.MULTILINE)
    names = [key.rpartition(".")[2] for key in registered() if not key.startswith(generated.AS_COMMANDS)]
    assert {title.replace("\\", "") for title in titles} >= set(names)
    known = re.findall(r"^\| `(.*?)` ", generated.keys(), re.MULTILINE)
    assert {"train.sgd.momentum", "layers.device"} <= set(known)
    assert {"netspec run", "netspec data stats"} <= set(re.findall(r"^### (.*)$", generated.commands(), re.MULTILINE))


def test_what_public_functions_give_is_public_and_in_the_reference(generated: ModuleType) -> None:
    functions = [thing for name in netspec.__all__ if inspect.isfunction(thing := getattr(netspec, name))]
    given = {re.sub(r"^list\[(.*)\]$", r"\1", str(inspect.signature(one).return_annotation)) for one in functions}
    results = generated.python().partition("## Results")[2].partition("## Events")[0]
    assert given <= {"Path", *re.findall(r"^\.\. autoclass:: netspec\.(\w+)$", results, re.MULTILINE)}


def test_a_layer_without_words_for_its_shapes_does_not_get_the_base_class_s(generated: ModuleType) -> None:
    assert "Raises LayerError where the inputs do not fit" not in generated.layers()


def test_the_map_of_folders_says_something_of_each(generated: ModuleType) -> None:
    rows = re.findall(r"^\| `(.*)/` \| (.*) \|$", generated.folders(), re.MULTILINE)
    assert all(about for _, about in rows)
    kept = {file.parent for top in ("netspec", "layers", "runners") for file in (ROOT / top).rglob("*.py")}
    assert {ROOT / name for name, _ in rows} == kept


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs pip install 'netspec[docs]'")
    command = "-c docs -b html --fail-on-warning --keep-going --quiet -d".split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, str(tmp_path / "doctrees"), ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
    assert "conv1" in (tmp_path / "site" / "searchindex.js").read_text(encoding="utf-8")
