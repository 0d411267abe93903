"""What a kind of figure is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from netspec.contract.attrs import Attr, filled
from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Kind(ABC):
    """A picture: ``read`` collects plain data from runs, ``draw`` draws it and reads nothing more.

    The class's docstring is its help, ``attrs`` declares its settings, which are options of the command. ``takes``
    names what it shows, of which ``most`` bounds the number; ``of_folder`` which runs a folder of them stands for.
    """

    type: ClassVar[str]
    attrs: ClassVar[Mapping[str, Attr]] = {}
    takes: ClassVar[str] = "RUN"
    most: ClassVar[int | None] = None
    of_folder: ClassVar[Literal["all", "newest"]] = "all"
    examples: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, settings)

    @abstractmethod
    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Any:
        """What there is to show. ``labels`` is empty or has one each. Raises NetspecError where there is nothing."""

    @abstractmethod
    def draw(self, data: Any) -> Figure:
        """The picture, at paper size; called with the style in force."""

    def numbers(self, data: Any) -> Any:
        """The numbers in the picture, as JSON has them."""
        return data

    def lines(self, data: Any) -> list[str]:
        """What the picture says, for the terminal."""
        return []

    def render(self, data: Any, format: str) -> bytes:
        """The picture as a file of that format."""
        from netspec.figures import _style

        return _style.render(lambda: self.draw(data), format)

    @classmethod
    def summary(cls) -> str:
        """One line on what it shows."""
        return (cls.__doc__ or "").partition("\n")[0].rstrip(".")

    @classmethod
    def counted(cls) -> str:
        """How many it takes, in words."""
        return f"one or more of {cls.takes}" if cls.most is None else f"at most {cls.most} of {cls.takes}"
