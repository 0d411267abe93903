"""Tables 1 and 2 of the paper (Krizhevsky, Sutskever and Hinton 2012, section 6): published error rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A row: error rates in percent, in the order of its table's columns; None where the paper has a dash."""

    model: str
    errors: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table of the paper: its columns behind the model's name, its rows, and the sets that the columns are of.

    ``sets`` gives for each set the columns of its top-1 and top-5 errors, None where the table has none.
    """

    title: str
    columns: tuple[str, ...]
    sets: dict[str, tuple[int | None, int | None]]
    rows: tuple[Published, ...]

    def by_set(self) -> Iterator[tuple[Published, str, list[float | None]]]:
        """Each model and set that the table has an error of, with its top-1 and top-5 errors."""
        for row in self.rows:
            for name, places in self.sets.items():
                errors = [None if place is None else row.errors[place] for place in places]
                if any(errors):
                    yield row, name, errors


TABLES = (
    PublishedTable(
        "Table 1: ILSVRC-2010, test set",
        ("top-1", "top-5"),
        {"ILSVRC-2010 test": (0, 1)},
        (
            Published("Sparse coding", (47.1, 28.2)),
            Published("SIFT + FVs", (45.7, 25.7)),
            Published("CNN", (37.5, 17.0)),
        ),
    ),
    PublishedTable(
        "Table 2: ILSVRC-2012, validation and test sets",
        ("top-1 (val)", "top-5 (val)", "top-5 (test)"),
        {"ILSVRC-2012 val": (0, 1), "ILSVRC-2012 test": (None, 2)},
        (
            Published("SIFT + FVs", (None, None, 26.2)),
            Published("1 CNN", (40.7, 18.2, None)),
            Published("5 CNNs", (38.1, 16.4, 16.4)),
            Published("1 CNN*", (39.0, 16.6, None)),
            Published("7 CNNs*", (36.7, 15.4, 15.3)),
        ),
    ),
)
FOOTNOTE = "*: pre-trained on the whole ImageNet release of Fall 2011. CNNs: the average over ten views of an image."
