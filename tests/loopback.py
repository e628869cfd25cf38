"""HTTP and FTP servers that misbehave on demand; tests start them, and nothing leaves this machine."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server has and how it fails."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    etag: str | None = '"v1"'
    content_type: str = "application/octet-stream"
    break_after: list[int] = field(default_factory=list)  # bytes of each of the next answers
    statuses: list[int] = field(default_factory=list)  # of the next answers, instead of the file
    stall_after: list[int] = field(default_factory=list)  # bytes of the next answers, and then silence
    redirect_to: str | None = None  # where every request is sent on to
    released: threading.Event = field(default_factory=threading.Event)  # ends the silence
    wanted_authorisation: str | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # FTP


@contextlib.contextmanager
def _serving(server: Any, behaviour: Behaviour, scheme: str) -> Iterator[Behaviour]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    behaviour.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    try:
        yield behaviour
    finally:
        behaviour.released.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def http(**settings: Any) -> Iterator[Behaviour]:
    behaviour = Behaviour(**settings)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, behaviour)

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), behaviour, "http") as served:
        yield served


def _answer(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> None:
    behaviour.requests.append((handler.path, dict(handler.headers)))
    wanted = behaviour.wanted_authorisation
    content = behaviour.files.get(handler.path)
    if wanted and handler.headers.get("Authorization") != wanted:
        return handler.send_error(401)
    if behaviour.redirect_to:
        handler.send_response(302)
        handler.send_header("Location", behaviour.redirect_to)
        handler.send_header("Content-Length", "0")
        return handler.end_headers()
    if behaviour.statuses:
        return handler.send_error(behaviour.statuses.pop(0))
    if content is None:
        return handler.send_error(404)
    start = _start_of_range(handler, behaviour)
    if start > 0 and start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        return handler.end_headers()
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if behaviour.etag:
        handler.send_header("ETag", behaviour.etag)
    handler.send_header("Content-Type", behaviour.content_type)
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    stop = start + behaviour.break_after.pop(0) if behaviour.break_after else len(content)
    if behaviour.stall_after:
        stop = start + behaviour.stall_after.pop(0)
        handler.wfile.write(content[start:stop])
        handler.wfile.flush()
        behaviour.released.wait(20)
        return None
    handler.wfile.write(content[start:stop])


def _start_of_range(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> int:
    asked, condition = handler.headers.get("Range", ""), handler.headers.get("If-Range")
    if not asked or not behaviour.ranges or (condition and condition != behaviour.etag):
        return 0
    return int(asked.removeprefix("bytes=").rstrip("-"))


@contextlib.contextmanager
def ftp(**settings: Any) -> Iterator[Behaviour]:
    behaviour = Behaviour(**settings)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            _converse(self, behaviour)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with _serving(Server(("127.0.0.1", 0), Handler), behaviour, "ftp") as served:
        yield served


def _converse(handler: socketserver.StreamRequestHandler, behaviour: Behaviour) -> None:
    """Speak just enough FTP (RFC 959, 2428, 3659) for a passive download."""

    def say(line: str) -> None:
        handler.wfile.write(f"{line}\r\n".encode())

    say("220 hello")
    start, listener = 0, socket.create_server(("127.0.0.1", 0))
    for line in handler.rfile:
        command, _, argument = line.decode().strip().partition(" ")
        behaviour.commands.append(f"{command} {argument}".strip())
        content = behaviour.files.get(argument)
        if command in ("USER", "PASS"):
            say("230 welcome")
        elif command == "TYPE":
            say("200 binary")
        elif command == "REST":
            start = int(argument)
            say("350 restarting" if behaviour.ranges else "502 not implemented")
        elif command == "PASV":
            port = listener.getsockname()[1]
            say(f"227 passive (127,0,0,1,{port // 256},{port % 256})")
        elif command in ("SIZE", "RETR") and content is None:
            say("550 no such file")
        elif command == "SIZE":
            say(f"213 {len(content or b'')}")
        elif command == "RETR":
            connection, _ = listener.accept()
            say("150 coming")
            stop = start + behaviour.break_after.pop(0) if behaviour.break_after else None
            if behaviour.stall_after:
                stop = start + behaviour.stall_after.pop(0)
                connection.sendall((content or b"")[start:stop])
                behaviour.released.wait(20)
            else:
                connection.sendall((content or b"")[start:stop])
            connection.close()
            start = 0
            say("226 done" if stop is None else "426 broken off")
        elif command == "QUIT":
            say("221 bye")
            return
        else:
            say("502 not implemented")
