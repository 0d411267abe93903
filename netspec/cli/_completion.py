"""What a shell is answered that asks how a word goes on: see the scripts in ``shell/``.

The line up to the cursor comes in the environment. The answer's first line is what else completes the word: files,
dirs, neither, and nospace where a space behind a word would be wrong; then a word a line, with a tab and what it is.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable, Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from netspec.cli.completion import SHELLS, script
from netspec.errors import printable

VARIABLE = "_NETSPEC_COMPLETE"
"""``bash_complete`` and the like: who asks."""


def answer(cli: click.Command) -> None:
    """Print the answer. Whatever is wrong, files can be completed, and nothing is told: the cursor is in a line."""
    shell, _, what = os.environ.pop(VARIABLE).partition("_")
    if what == "source" and shell in SHELLS:  # as programs made with click are asked for their scripts
        sys.stdout.write(script(shell))
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        try:
            lines = _lines(cli, shell, os.environ.get("_NETSPEC_LINE", ""))
        except BaseException:  # plugins that are installed may do anything
            lines = ["files"]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _lines(cli: click.Command, shell: str, line: str) -> list[str]:
    words = split_arg_string(line)[1:]
    word = "" if not words or _ends_with_space(line) else words.pop()
    items = ShellComplete(cli, {"obj": words}, "netspec", VARIABLE).get_completions(words, word)
    kinds = {"file": "files", "dir": "dirs"}
    told = dict.fromkeys(kinds[item.type] for item in items if item.type in kinds)
    found = [item for item in items if item.type not in kinds]
    if any(str(item.value).endswith(("=", ".", "/")) for item in found):
        told["nospace"] = None
    return [" ".join(told), *_words(found, word, shell, line)]


def _words(items: Iterable[CompletionItem[str]], word: str, shell: str, line: str) -> list[str]:
    """The words as the shell takes them, each with what it is for those that show that."""
    option = f"{word.partition('=')[0]}=" if word.startswith("--") and "=" in word else ""
    cut = _taken_as_whole(word, line) if shell == "bash" else 0
    found = []
    for item in items:
        value = printable(f"{option}{item.value}")
        about = "" if shell == "bash" or not item.help else "\t" + " ".join(printable(item.help).split())
        found.append(value[cut:] + about)
    return found


def _taken_as_whole(word: str, line: str) -> int:
    """Characters of a word that bash does not replace: those up to the last that breaks words, outside of quotes."""
    if _is_quoted(line):
        return 0
    breaks = [sign for sign in os.environ.get("_NETSPEC_BREAKS", "=:") if not sign.isspace() and sign not in "\"'"]
    return max((word.rfind(sign) + 1 for sign in breaks), default=0)


def _ends_with_space(line: str) -> bool:
    """Whether the cursor is at a new word."""
    return line[-1:].isspace() and not _is_quoted(line) and not line[:-1].endswith("\\")


def _is_quoted(line: str) -> bool:
    """Whether a quotation is open at the end of a line."""
    try:
        shlex.split(line)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def know(parameters: Sequence[click.Parameter]) -> None:
    """Have the parameters of a command complete by their metavars, which say what kind of value each takes."""
    from netspec.cli._values import completer_of

    for parameter in parameters:
        if (completer := completer_of(parameter)) is not None:
            parameter.shell_complete = completer  # type: ignore[assignment, method-assign]
