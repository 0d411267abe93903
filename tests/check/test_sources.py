"""The contract suite of data sources: all shipped ones pass, and each way to break the contract is found."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from netspec.check import checked
from netspec.data.known_sources import source_types
from netspec.registry import load_plugin, plugin_code

(SOURCE,) = re.findall(r"```python\n(# stripes.py\n.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)
MAY_SKIP = {"counts", "numbers", "missing"}


@pytest.mark.parametrize("name", list(source_types()))
def test_contract(name: str) -> None:
    found = {result.name: result for result in checked(f"sources.{name}")}
    assert not [result.message for result in found.values() if result.status == "failed"]
    assert {result.name for result in found.values() if result.status == "skipped"} <= MAY_SKIP
    assert len(found) == 12


@pytest.fixture
def failures(tmp_path: Path) -> Iterator[object]:
    """Loads the documented source with a change; gives what the suite finds, by check."""

    def of(*changes: tuple[str, str]) -> dict[str, str]:
        file, text = tmp_path / "stripes.py", SOURCE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        assert load_plugin(file) == ("sources.stripes",)
        results = list(checked("sources.stripes"))
        assert all(result.status == "passed" or result.message for result in results)
        return {result.name: result.message for result in results if result.status == "failed"}

    yield of
    for module in [name for name, one in plugin_code._loaded.items() if "sources.stripes" in one.plugin.types]:
        plugin_code._discard(module)


def test_the_documented_one_passes(failures) -> None:
    assert failures() == {}


WRONG = {
    "docs": ('integer("training pictures"', 'integer(""', "attribute 'images' has no description"),
    "schema": ('default=640, minimum=1', 'default=0, minimum=1', "the default 0 does not fit"),
    "listing": ('("left", "right")', '("left", "left")', "names of classes must be texts that differ"),
    "counts": ('attrs["images"], 64, 2', 'attrs["images"], 63, 2', "counts() gives (8, 63, 2), listed are (8, 64, 2)"),
    "names": ('return f"{self._split}/{i}"', 'return "one"', "name() gives 'one' for several images"),
    "images": ("shift = i", "self.seen = shift = getattr(self, 'seen', 0) + 1", "another image when it is asked again"),
    "again": ("self._seed = seed", "type(self).made = self._seed = getattr(self, 'made', 0) + 1",
              "two sources of the same attributes and seed"),
    "pickle": ("self._seed, self._split = seed, split", "self._seed, self._split = seed, (lambda: split)()\n"
               "        self.late = lambda: 0", "raises AttributeError"),
    "part": ("    def read(", "    def part(self, indices):\n        return self\n\n    def read(", "part("),
}  # fmt: skip


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_is_found_by_its_check(check: str, failures) -> None:
    old, new, message = WRONG[check]
    assert message in failures((old, new))[check]


PATH = '"path": {"type": "string", "x-netspec": "path", "description": "where"'


def test_a_sample_without_files_for_its_path_says_what_to_write(failures) -> None:
    found = failures(("    attrs = {", f"    attrs = {{{PATH}}},"))
    assert found["schema"].startswith("samples() leaves out 'path', which has no default: have it write a small set")


def test_a_place_that_is_not_there_is_an_error_for_people(failures) -> None:
    found = failures(
        ("    attrs = {", f"    attrs = {{{PATH}, 'default': '.'}},"),
        ("        self._seed = seed", "        self._seed, self._path = seed, attrs['path']"),
        ("        numbers = np", "        import os\n        os.listdir(self._path)\n        numbers = np"),
    )
    assert "path: a place that is not there raises FileNotFoundError" in found["missing"]
