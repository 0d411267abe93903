"""Loading: file, base specs, overrides, Spec. A spec runs no code."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netspec.errors import Mark, NetspecError, Problem, SpecError
from netspec.spec import files
from netspec.spec.blocks import text_of
from netspec.spec.build import build, check_sections, check_version, read_name
from netspec.spec.merge import merge
from netspec.spec.nodes import List, Map, Node, Scalar
from netspec.spec.overrides import as_tree
from netspec.spec.problems import Report
from netspec.spec.reader import parse
from netspec.spec.sections import anchored, expand_source
from netspec.spec.train_section import anchor_init_from, expand_init_from, expand_precision, expand_solver
from netspec.spec.types import Spec
from netspec.spec.wording import show

MAX_CHAIN = 16


def load(path_or_name: str | Path, overrides: str | Sequence[str] = ()) -> Spec:
    """The Spec of a YAML file, or of a shipped spec by its bare name, with changes such as ``train.batch=64``.

    Raises SpecError with all that is wrong, by line; NetspecError where the file cannot be found or read.
    """
    path = files.find(str(path_or_name))
    return loads(files.read(path), str(path), [overrides] if isinstance(overrides, str) else overrides)


def loads(text: str, file: str = "<string>", overrides: Sequence[str] = ()) -> Spec:
    """The Spec of a YAML text; ``file`` is its name in messages, and ``extends`` is looked up beside it.

    Raises SpecError with all that is wrong, by line.
    """
    report = Report()
    return build(_tree(text, Path(file), overrides, report), _default_name(Path(file)), report)


def name_of(path_or_name: str | Path, overrides: Sequence[str] = ()) -> str:
    """The name of the network in a YAML file, whether or not its layer types are known. Raises as ``load`` does."""
    path, report = files.find(str(path_or_name)), Report()
    return read_name(_tree(files.read(path), path, overrides, report), _default_name(path), report)


def layers_and_uses(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The layers of a spec file with their types, and the uses of blocks with schemas of what they may say.

    Raises as ``load`` does.
    """
    report = Report()
    root = _tree(files.read(path), path, (), report)
    listed = root.get("layers")
    nodes = listed.items if isinstance(listed, List) else ()
    layers = {text_of(node, "name"): text_of(node, "type") for node in nodes if isinstance(node, Map)}
    return layers, {use: {key: {} for key in one.attributes} for use, one in report.uses.items()}


def _default_name(path: Path) -> str:
    return path.stem if path.suffix else "network"


def _tree(text: str, path: Path, overrides: Sequence[str], report: Report) -> Map:
    """The text laid over the specs that it extends, and the changes over both."""
    levels = _Levels(report).of(text, path)
    for index, assignment in enumerate(overrides):
        change = as_tree(assignment, index, report)
        if change is not None and levels is not None:
            levels.append(_expanded(change, Path()))
    if levels is None:
        report.finish()
        raise AssertionError("an unreadable spec has problems")
    try:
        return merge(levels, report)
    except SpecError:  # of its blocks, or what uses them; what else is wrong is told beside
        check_sections(merge([level.without("blocks", "layers") for level in levels], report), report)
        report.finish()
        raise


def _expanded(root: Map, folder: Path) -> Map:
    """The tree with short forms written out and paths made absolute."""
    whole = expand_precision(expand_init_from(expand_solver(expand_source(root))))
    return anchor_init_from(anchored(whole, folder), folder)


@functools.lru_cache(64)
def _parsed(text: str, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """What a file holds, and what is wrong with it; many specs extend the same few."""
    problems: list[Problem] = []
    return parse(text, file, problems), tuple(problems)


class _Levels:
    """Reads a spec and those that it extends, each once."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.chain: list[Path] = []

    def of(self, text: str, path: Path) -> list[Map] | None:
        """The tree of a text, above those of the specs that it extends; None where one cannot be read."""
        before = len(self.report.problems)
        root, problems = _parsed(text, str(path))
        self.report.unreadable(problems)
        if len(self.report.problems) > before and root is None:
            return None
        if not isinstance(root, Map):
            mark = root.mark if root else Mark(str(path), 1, 1)
            self.report.note(
                mark, "a spec is a map of keys" if root else "the file is empty", "begin with 'netspec: 1'"
            )
            return None
        if not check_version(root, self.report):
            return None
        root = _expanded(root, path.parent)
        if "extends" not in root.entries:
            return [root]
        self.chain.append(path)
        return self.extended(root, path)

    def extended(self, root: Map, path: Path) -> list[Map] | None:
        """The root above the spec that it extends."""
        node = root.entries["extends"].value
        name = node.value if isinstance(node, Scalar) else None
        if not isinstance(name, str) or not name:
            self.report.note(node.mark, "'extends' must be the path of a spec", "as in extends: alexnet.yaml")
            return None
        base = self.base(name, path.parent, node.mark)
        if base is None:
            return None
        if path.suffix and "name" not in root.entries:
            base = [level.without("name") for level in base]  # so that its runs are not mixed with those of the base
        return [*base, root.without("extends")]

    def base(self, name: str, folder: Path, mark: Mark) -> list[Map] | None:
        """The trees of a base spec."""
        try:
            path = files.find(name, folder)
            if path.suffix.lower() not in (".yaml", ".yml"):  # what else is read here would be shown in messages
                raise NetspecError(f"{show(name)} does not end in .yaml or .yml; rename it if it is a spec")
            if any(_same(path, seen) for seen in self.chain):
                raise NetspecError(f"{show(name)} leads back to {self.chain[0]}")
            if len(self.chain) > MAX_CHAIN:
                raise NetspecError(f"{show(name)} is the {len(self.chain)}th spec in a row that extends another")
            text = files.read(path)
        except SpecError as error:
            self.report.problems.extend(error.problems)
            return None
        except NetspecError as error:
            self.report.note(mark, f"cannot extend: {error}")
            return None
        return self.of(text, path)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
