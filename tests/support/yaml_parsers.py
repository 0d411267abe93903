"""YAML parsers that specs may be read with: libyaml's, PyYAML's own, and ones that differ from both as others might."""

from __future__ import annotations

from typing import Any

import yaml


class Reworded:
    """A parser whose errors are worded as no version of PyYAML words them."""

    below: Any = yaml.SafeLoader

    def __init__(self, text: str) -> None:
        self.loader = self.below(text)

    def check_event(self) -> bool:
        return self._reworded(self.loader.check_event)

    def get_event(self) -> Any:
        return self._reworded(self.loader.get_event)

    def dispose(self) -> None:
        self.loader.dispose()

    def _reworded(self, step: Any) -> Any:
        try:
            return step()
        except yaml.MarkedYAMLError as error:
            words = ("besides" if error.context else None, error.context_mark, "something is odd", error.problem_mark)
            raise type(error)(*words) from error


class Limited(Reworded):
    """A parser that reads ahead, and refuses what is nested deeper than 60 levels before it has given an event."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        tokens, depth, self.refused = yaml.SafeLoader(text), 0, None
        starts = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
        starts = (*starts, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
        ends = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
        try:
            while tokens.check_token() and depth <= 60:
                token = tokens.get_token()
                depth += isinstance(token, starts) - isinstance(token, ends)
                self.refused = token.start_mark if depth > 60 else None
        except yaml.YAMLError:
            pass

    def check_event(self) -> bool:
        if self.refused is not None:
            raise yaml.scanner.ScannerError("going down", self.refused, "that is too deep", self.refused)
        return super().check_event()


class RewordedLibyaml(Reworded):
    """libyaml's parser, worded otherwise."""

    below = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


PARSERS = [getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader, RewordedLibyaml, Reworded, Limited]
