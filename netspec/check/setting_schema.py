"""What is checked of the settings of anything that is no layer."""

from __future__ import annotations

from netspec.check.compare import Failed
from netspec.check.declared import Declaring, check_attribute
from netspec.contract.values import fits


def check_schema(subject: Declaring) -> None:
    """Each attribute's schema is valid and refuses wrong values, and the examples fit."""
    for name, schema in subject.cls.attrs.items():
        check_attribute(name, schema)
    for attrs in subject.cls.examples:
        for name, value in attrs.items():
            if name not in subject.cls.attrs:
                known = ", ".join(subject.cls.attrs) or "there is none"
                raise Failed(f"the example {attrs} sets '{name}', which is no attribute ({known})")
            if not fits(subject.cls.attrs[name], value):
                raise Failed(f"the example {attrs} does not fit the attribute '{name}'")
        needed = [name for name, schema in subject.cls.attrs.items() if "default" not in schema]
        if missing := [name for name in needed if name not in attrs]:
            raise Failed(f"the example {attrs} lacks '{missing[0]}', which must be written: add it to examples")
