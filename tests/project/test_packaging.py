"""The parts at the top of the repository install inside the package: in a wheel, an sdist and an editable install."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from places import ROOT

import netspec

PARTS = ("layers", "runners", "specs")
SHOW = """
import netspec, netspec.layers, netspec.runners, netspec.layers.relu
from netspec._paths import specs_folder
print(netspec.__file__, netspec.layers.__file__, netspec.runners.__file__, specs_folder(), sep="\\n")
assert (specs_folder() / "alexnet.yaml").is_file()
"""

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the sources: run in a checkout")


def sources() -> set[str]:
    """What a wheel must hold: every file of the package and of the parts, by its installed path."""
    folders = {"netspec": "netspec", **{part: f"netspec/{part}" for part in PARTS}}
    return {
        f"{inside}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in folders.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }


def run(*command: object, path: object = "", cwd: Path | None = None) -> str:
    """What a command prints; PYTHONPATH is ``path`` and nothing else."""
    env = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def origins(python: object, cwd: Path, path: object = "") -> list[Path]:
    """Where that Python finds netspec, netspec.layers, netspec.runners and the specs."""
    return [Path(line) for line in run(python, "-c", SHOW, path=path, cwd=cwd).splitlines()]


def inside(folder: Path) -> list[Path]:
    """The same places when they are installed together in ``folder``."""
    package = folder / "netspec"
    parts = [package / part / "__init__.py" for part in ("layers", "runners")]
    return [package / "__init__.py", *parts, package / "specs"]


BESIDE = [ROOT / part / "__init__.py" for part in ("netspec", "layers", "runners")] + [ROOT / "specs"]


def test_checkout_imports_without_an_installation(tmp_path: Path) -> None:
    assert origins(sys.executable, tmp_path, path=ROOT) == BESIDE


def test_wheel_holds_every_source_file(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    built = next(wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = zipfile.ZipFile(built).namelist()
    files = {name for name in names if name.startswith("netspec/")}
    assert files == sources()
    assert {name.split("/")[0] for name in names} == {"netspec", f"netspec-{netspec.__version__}.dist-info"}


def test_sdist_holds_what_is_versioned_and_nothing_else(tmp_path: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows what is versioned: run in a clone")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    versioned = {name for name in listed if (ROOT / name).exists() and not name.startswith(".ci/")}
    (built,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert names == versioned | {"PKG-INFO"}


def test_pipx_finds_the_program_by_the_name_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(project["scripts"]) == [project["name"]]


def test_the_citation_agrees_with_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited.keys() >= {"cff-version", "message", "title", "authors"}  # what the format requires
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["authors"] == project["authors"]
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert (cited["license"], cited["version"]) == (project["license"], netspec.__version__)
    assert cited["keywords"] == project["keywords"]
    assert all({"type", "title", "authors"} <= one.keys() for one in cited["references"])


def test_the_changelog_counts_down_to_older_versions() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    released = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", one) for one in headings[1:]]
    assert all(released), headings
    versions = [Version(netspec.__version__), *(Version(one[1]) for one in released if one)]
    assert versions == sorted(versions, reverse=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+", netspec.__version__)


def described() -> Metadata:
    """What an index is told of the package."""
    plugins = pytest.importorskip("hatchling.plugin.manager", reason="hatchling is not installed")
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.metadata.spec import construct_metadata_file_2_4

    project = ProjectMetadata(str(ROOT), plugins.PluginManager())
    return Metadata.from_email(construct_metadata_file_2_4(project), validate=True)


def test_an_index_page_is_whole() -> None:
    made = described()
    text = made.description
    assert made.author and made.license_expression == "MIT" and made.description_content_type == "text/markdown"
    assert set(made.classifiers) <= pytest.importorskip("trove_classifiers").classifiers
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    assert not [target for target in targets if not target.startswith(("https://", "#"))]
    assert len(text) > 0.9 * len((ROOT / "README.md").read_text()) and "netspec run quickstart" in text


def test_links_lead_to_where_the_sources_are_hosted() -> None:
    pytest.importorskip("hatchling")
    built = runpy.run_path(str(ROOT / "hatch_build.py"))["for_index"]
    links = "See [data](docs/data.md#tar), [this](#here), [all](https://x.y).\n"
    text = f'{links}<p a="b"><img src="docs/a.svg" alt="A"></p>'
    assert built(text, None) == "See data, [this](#here), [all](https://x.y).\n"
    source = "https://host/netspec"
    assert built(text, source) == (
        f"See [data]({source}/blob/HEAD/docs/data.md#tar), [this](#here), [all](https://x.y).\n"
        f'<p a="b"><img src="{source}/raw/HEAD/docs/a.svg" alt="A"></p>'
    )


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("dependencies = [")[1].split("]\n")[0].strip().splitlines()
    assert len(block) == len(tomllib.loads(text)["project"]["dependencies"])
    assert all("# " in line for line in block)


LOCKED = {"test": ("test",), "dev": ("dev", "test", "gates", "cuda13"), "oldest": ("test", "gates", "cuda13")}
"""The sets under requirements/, and the extras that each brings."""
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml asks for in these extras and without any, netspec itself left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [one for one in map(Requirement, lines) if one.name != "netspec"]


def applies(one: Requirement, python: str) -> bool:
    return one.marker is None or one.marker.evaluate({"python_version": python, "python_full_version": f"{python}.0"})


def locked(name: str) -> list[str]:
    """The lines of a set, each with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def pinned(name: str, python: str) -> dict[str, str]:
    """The versions that a set has for a Python, by name."""
    found = [Requirement(line.split(" --hash=")[0]) for line in locked(name)]
    return {one.name: str(one.specifier).removeprefix("==") for one in found if applies(one, python)}


@pytest.mark.parametrize("name", LOCKED)
@pytest.mark.parametrize("python", PYTHONS)
def test_locked_sets_hold_what_is_asked_for(name: str, python: str) -> None:
    """On each Python; where this fails, ``make lock`` makes the sets anew."""
    pins = pinned(name, python)
    for one in asked(LOCKED[name]):
        if applies(one, python):
            assert one.specifier.contains(pins[canonicalize_name(one.name)]), one


def test_the_oldest_set_has_the_lowest_versions() -> None:
    pins, lowest = pinned("oldest", "3.11"), {}
    for one in asked(LOCKED["oldest"]):
        for bound in one.specifier:
            if bound.operator == ">=":
                name = canonicalize_name(one.name)
                lowest[name] = max(Version(bound.version), lowest.get(name, Version("0")))
    assert {name: Version(pins[name]) for name in lowest} == lowest


@pytest.mark.parametrize("name", [*LOCKED, "uv"])
def test_locked_sets_have_hashes_and_name_no_host(name: str) -> None:
    assert locked(name)
    assert all(" --hash=sha256:" in line and "://" not in line and "--index" not in line for line in locked(name))


@pytest.mark.parametrize("python", PYTHONS)
def test_what_tests_install_is_part_of_what_developers_do(python: str) -> None:
    assert pinned("test", python).items() <= pinned("dev", python).items()


def make_venv(folder: Path) -> Path:
    """The Python of a new environment that sees this one's packages, but not its netspec."""
    venv.create(folder, with_pip=False)
    scheme = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    # A line of a .pth file adds a folder, whose own .pth files (this environment's editable netspec) are not read.
    Path(scheme["purelib"], "outer.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return Path(scheme["scripts"]) / "python"


@pytest.mark.slow
def test_sdist_wheel_and_editable_install(tmp_path: Path) -> None:
    for module in ("hatchling", "editables"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    members = tarfile.open(sdist).getnames()
    assert {name.split("/")[1] for name in members} >= {"netspec", *PARTS, "tests", "pyproject.toml", "LICENSE"}

    python = make_venv(tmp_path / "venv")
    run(python, *pip, sdist)  # builds a wheel from the sdist and installs it
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    assert origins(python, tmp_path) == inside(site)
    assert "valid, 23 layers on 2 devices" in run(python.with_name("netspec"), "validate", "alexnet", cwd=tmp_path)
    assert f" {netspec.__version__}" in run(python.with_name("netspec"), "--version", cwd=tmp_path)

    run(python, *pip, "--force-reinstall", "--editable", ROOT)
    assert origins(python, tmp_path) == BESIDE
