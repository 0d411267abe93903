"""A client of yaml-language-server, over stdin and stdout: what an editor shows of a YAML file."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Found = Mapping[str, Any]


class LanguageServer:
    """A server that is started and told to look nothing up on the net; files are opened with a text."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen([program, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._numbers = itertools.count(1)
        self._asked("initialize", processId=None, rootUri=None, capabilities={"workspace": {"configuration": True}})
        self._tell("initialized")

    def __enter__(self) -> LanguageServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._asked("shutdown")
            self._tell("exit")
        else:
            self._process.kill()
        self._process.communicate()

    def diagnostics(self, file: Path, text: str) -> list[Found]:
        """What is marked in a file of that text; lines count from 0."""
        uri = self._open(file, text)
        while True:
            said = self._read()
            if said.get("method") == "textDocument/publishDiagnostics" and said["params"]["uri"] == uri:
                return list(said["params"]["diagnostics"])

    def completions(self, file: Path, text: str, line: int, column: int) -> set[str]:
        """What is proposed at a place."""
        place = {"line": line, "character": column}
        found = self._asked("textDocument/completion", textDocument={"uri": self._open(file, text)}, position=place)
        return {item["label"] for item in found["items"]}

    def hover(self, file: Path, text: str, line: int, column: int) -> str:
        """What is told of a place."""
        place = {"line": line, "character": column}
        found = self._asked("textDocument/hover", textDocument={"uri": self._open(file, text)}, position=place)
        return found["contents"]["value"] if found else ""

    def _open(self, file: Path, text: str) -> str:
        uri = file.as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": next(self._numbers), "text": text}
        self._tell("textDocument/didOpen", textDocument=document)
        return uri

    # Messages -------------------------------------------------------------------------------------------------------

    def _asked(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": params})
        while True:
            said = self._read()
            if said.get("id") == number and "method" not in said:
                assert "error" not in said, said
                return said["result"]

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        """The next message; what the server asks is answered."""
        stream = self._process.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            name, value = line.split(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if not length:
            raise EOFError("the language server ended")
        said: dict[str, Any] = json.loads(stream.read(length))
        if "method" in said and "id" in said:
            self._send({"id": said["id"], "result": self._answer(said)})
        return said

    @staticmethod
    def _answer(said: Mapping[str, Any]) -> Any:
        """Settings: no catalogue of schemas from the net, the rest as it comes."""
        if said["method"] != "workspace/configuration":
            return None
        yaml = {"schemaStore": {"enable": False}, "validate": True, "completion": True, "hover": True}
        return [yaml if one.get("section") == "yaml" else None for one in said["params"]["items"]]
