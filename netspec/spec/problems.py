"""Collects the errors of a spec while it is read, so that all are reported at once, each once a place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from netspec.errors import Mark, Problem, SpecError


class Use(NamedTuple):
    """What a use of a block became; ``attributes`` are those of the block."""

    attributes: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """The problems found so far, and the layers that were removed: somebody may still read them.

    ``uses`` has those of blocks by name.
    """

    problems: list[Problem] = field(default_factory=list)
    removed: dict[str, Mark] = field(default_factory=dict)
    orphans: dict[str, list[str]] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    bare: dict[Problem, str] = field(default_factory=dict)
    unread: set[Mark | None] = field(default_factory=set)

    def unreadable(self, problems: Iterable[Problem]) -> None:
        """Add what YAML's reader refused; nothing else is told of these places."""
        for problem in problems:
            self.problems.append(problem)
            self.unread.add(problem.mark)

    def note(self, mark: Mark, message: str, remedy: str | None = None, owner: str = "") -> None:
        """Add a problem; ``owner`` is the layer or section it belongs to.

        What one place says wrong of several layers, such as the uses of a block, is told of the first alone.
        """
        if mark in self.unread:
            return
        problem = Problem(mark, f"{owner}: {message}" if owner else message, remedy)
        self.problems.append(problem)
        self.bare[problem] = message

    def orphan(self, reader: str, source: str) -> bool:
        """Note that a layer needs one that was removed; False when no such layer was."""
        if source not in self.removed:
            return False
        self.orphans.setdefault(source, []).append(reader)
        return True

    def finish(self) -> None:
        """Raise SpecError with all problems in the order of their lines, if there are any."""
        for name, readers in self.orphans.items():
            those = " and ".join(f"'{reader}'" for reader in dict.fromkeys(readers))
            self.note(
                self.removed[name], f"removing '{name}' leaves {those} without it", "change or remove what reads it"
            )
        if self.problems:
            first = {(one.mark, self.bare.get(one, one.message)): one for one in reversed(self.problems)}
            raise SpecError(sorted(reversed(first.values()), key=_place))


def _place(problem: Problem) -> tuple[str, int, int]:
    mark = problem.mark
    return (mark.file, mark.line, mark.column) if mark else ("", 0, 0)
