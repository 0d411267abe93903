"""The process in which ``netspec layers check`` runs the suite: kernels may hang there, or bring it down."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from netspec.check.suite import check_names, checked
from netspec.errors import NetspecError
from netspec.machine.garbage import COLLECTED_AFTER
from netspec.machine.marks import MarksFile, mark_in
from netspec.machine.tasks import hearing
from netspec.registry.plugin_code import adopt


def main(answers: int, folder: str) -> None:
    """Check what the connection of that descriptor asks for; each answer is a word and what belongs to it."""
    gc.set_threshold(*COLLECTED_AFTER)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what kernels print is no result
    connection = Connection(answers)
    mark_in(MarksFile(Path(folder) / "mark"))
    with open(Path(folder) / "stack", "w") as stack, suppress(BrokenPipeError):
        faulthandler.register(signal.SIGUSR1, stack, chain=True)  # where it hangs: the stack, then the end
        plugins, names, backends = connection.recv()
        for plugin in plugins:
            with suppress(NetspecError):  # one that nobody asks for; else its types are missing below
                adopt(plugin)
        with hearing(lambda event: connection.send(("event", event))):
            try:
                for name in names:
                    connection.send(("type", (name, check_names(name))))
                    for result in checked(name, backends):
                        connection.send(("result", asdict(result)))
                connection.send(("end", None))
            except NetspecError as error:
                connection.send(("error", str(error)))
