"""A page on this machine, read-only: three routes, of which none takes a file's name. HTTP by waitress."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from netspec.errors import NetspecError
from netspec.page.document import LIVE_POLICY, SCRIPT, packaged
from netspec.page.watched import Watched

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_HEADERS = [
    ("Content-Security-Policy", f"{LIVE_POLICY}; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]
_LIMITS = {"threads": 4, "connection_limit": 64, "max_request_body_size": 4096, "max_request_header_size": 16384}
_NAME = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
"""The header Host: a name or an address, and a port that may be that of a tunnel."""


class Answer(NamedTuple):
    """What a client gets."""

    status: str
    body: str
    kind: str = "text/plain"


def check_installed() -> None:
    """Raise NetspecError, with what to type, where waitress is missing."""
    try:
        import waitress as _  # noqa: F401
    except ImportError as error:
        raise NetspecError("netspec watch serves by waitress: pip install 'netspec[watch]'") from error


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to a host and a port, 0 being any free one. Raises NetspecError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        raise NetspecError(f"{host}:{port}: {_reason(error).lower()} (--port 0 takes any free port)") from error


def _reason(error: OSError | UnicodeError) -> str:
    """What the system says, without what Python adds to it."""
    if isinstance(error, UnicodeError):
        return "no name of a host"
    plain = error.errno is not None and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno or 0) if plain else error.strerror or str(error)


def is_local(bound: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ipaddress.ip_address(bound.getsockname()[0]).is_loopback


def serve(watched: Watched, bound: socket.socket, host: str) -> None:
    """Answer until interrupted."""
    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a few requests may wait for a picture
    names = {"localhost"} if is_local(bound) else {"localhost", host.lower(), socket.gethostname().lower()}
    server = waitress.create_server(application(watched, names), sockets=[bound], ident="netspec", **_LIMITS)
    try:
        server.run()
    finally:
        server.close()


def application(watched: Watched, names: set[str]) -> Application:
    """The WSGI application; ``names`` are those that the header Host may have, beside addresses."""

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if not _is_meant(environ.get("HTTP_HOST", ""), names):
            found = Answer("403 Forbidden", "the header Host names another machine\n")
        elif method not in ("GET", "HEAD"):
            found = Answer("405 Method Not Allowed", "this server is for reading: GET or HEAD\n")
        else:
            found = _found(watched, environ.get("PATH_INFO", ""))
        body = found.body.encode()
        headers = [("Content-Type", f"{found.kind}; charset=utf-8"), ("Content-Length", str(len(body))), *_HEADERS]
        more = [("Allow", "GET, HEAD")] if found.status.startswith("405") else []
        start_response(found.status, [*headers, *more])
        return [] if method == "HEAD" else [body]

    return answer


def _is_meant(host: str, names: set[str]) -> bool:
    """Whether a request is for this server: an address or one of its names, and no name that a stranger's DNS gave it.

    DNS rebinding makes a browser take this machine for one of the stranger's, whose name it then sends.
    """
    match = _NAME.fullmatch(host)
    if match is None:
        return False
    name = match["name"].lower()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in names
    return True


def _found(watched: Watched, path: str) -> Answer:
    try:
        return _route(watched, path)
    except Exception as error:  # the client learns nothing of where
        print(f"netspec watch: {path!r}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return Answer("500 Internal Server Error", "the page cannot be made; netspec watch says why\n")


def _route(watched: Watched, path: str) -> Answer:
    if path == "/":
        return Answer("200 OK", watched.document(), "text/html")
    if path == f"/{SCRIPT}":
        return Answer("200 OK", packaged(SCRIPT), "text/javascript")
    if path == "/versions":
        versions = {anchor: section.version for anchor, section in watched.sections().items()}
        return Answer("200 OK", json.dumps({"status": watched.status, "sections": versions}), "application/json")
    section = watched.sections().get(path.removeprefix("/section/")) if path.startswith("/section/") else None
    return Answer("200 OK", section.body, "text/html") if section else Answer("404 Not Found", "no such page\n")
