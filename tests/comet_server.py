"""A server on the loopback that answers Comet's client, as far as the tests go, and remembers what it got."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY_NOT_REGISTERED = 90212  # Comet's code for it


class CometServer(ThreadingHTTPServer):
    """What experiments have logged; one key is good."""

    daemon_threads = True

    def __init__(self, key: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key = key
        self.keys_seen: set[str] = set()
        self.experiments: list[str] = []
        self.parameters: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []
        self.graphs: list[str] = []
        self.images: list[tuple[str, bytes]] = []
        self.assets: dict[str, tuple[str, bytes]] = {}  # id -> name, content
        self.cut_to: int | None = None  # bytes after which a download ends

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/clientlib/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CometServer

    def do_GET(self) -> None:
        path, query = self._ask()
        if path.endswith("isAlive/ver"):
            self._answer({"version": "3.3.12"})
        elif not self._admitted():
            pass
        elif path.endswith("experiment/metadata"):
            names = {"workspaceName": "ice", "projectName": "fieldwise", "experimentName": "one"}
            self._answer({"experimentKey": query["experimentKey"], **names})
        elif path.endswith("asset/list"):
            assets = [
                {"assetId": key, "fileName": name, "fileSize": len(content), "createdAt": number}
                for number, (key, (name, content)) in enumerate(self.server.assets.items())
            ]
            known = query.get("experimentKey") in self.server.experiments
            self._answer(
                {"assets": assets} if known else {"msg": "no such experiment"}, 200 if known else 400
            )
        elif path.endswith("asset/get-asset"):
            self._send(
                self.server.assets[query["assetId"]][1][: self.server.cut_to], "application/octet-stream"
            )
        else:
            self._answer({})

    def do_POST(self) -> None:
        path, query = self._ask()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if not self._admitted():
            return
        if path.endswith(("add/run", "get/run")):
            self.server.experiments.append(json.loads(body)["experimentKey"])
            self._answer({"runId": "run", "project_id": "project", "focusUrl": self.server.url})
            return
        if path.endswith("experiment/parameter"):
            for item in _items(body):
                self.server.parameters[item["parameterName"]] = item["parameterValue"]
        elif path.endswith("experiment/metric"):
            self.server.metrics += _items(body)
        elif path.endswith("experiment/graph"):
            self.server.graphs.append(json.loads(body)["graph"])
        elif path.endswith("visualizations/upload"):
            self.server.images.append((query["figName"], _file_of(body)))
        elif path.endswith("asset/upload"):
            self.server.assets[query["assetId"]] = query["fileName"], _file_of(body)
        self._answer({})

    def _ask(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def _admitted(self) -> bool:
        key = self.headers.get("Authorization", "")
        self.server.keys_seen.add(key)
        if key != self.server.key:
            self._answer({"sdk_error_code": KEY_NOT_REGISTERED, "msg": f"{key} is not registered"}, 403)
        return key == self.server.key

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _items(body: bytes) -> list[dict[str, Any]]:
    """List the parameters or metrics of a batch."""
    content = json.loads(body)
    return content.get("values", content) if isinstance(content, dict) else content


def _file_of(body: bytes) -> bytes:
    """Take the one file out of a multipart form."""
    boundary, _, rest = body.partition(b"\r\n")
    _, _, content = rest.partition(b"\r\n\r\n")
    return content[: content.rindex(b"\r\n" + boundary)]


@contextlib.contextmanager
def serving(key: str) -> Iterator[CometServer]:
    """Serve until the block ends."""
    with CometServer(key) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
