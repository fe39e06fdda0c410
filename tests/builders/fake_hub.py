"""A Hugging Face Hub of our own on localhost, which remembers what it was asked."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"


class FakeHub:
    """Serves the files of one model as the Hub does; remembers what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.piece = 1 << 16  # bytes between two pauses
        self.pause = 0.0
        self.hangs_up_after: int | None = None  # bytes of a file, once
        self.status = 200
        self.headers: dict[str, str] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None: ...

            def do_GET(self) -> None:
                hub.answer(self)

        self.server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.address = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        self.asked.append((path, request.headers.get("Range")))
        if self.status != 200:
            return self._send(request, self.status, b"{}", self.headers)
        if path.startswith("/api/models/"):
            siblings = [
                {
                    "rfilename": name,
                    "size": len(data),
                    "blobId": "x",
                    "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1},
                }
                for name, data in self.files.items()
            ]
            body = {"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}
            return self._send(request, 200, json.dumps(body).encode())
        data = self.files[path.split(f"/resolve/{COMMIT}/")[1]]
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        return self._send(request, 206 if asked else 200, data[start:])

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            request.send_header(key, value)
        request.end_headers()
        whole = data
        if self.hangs_up_after is not None and len(data) > self.hangs_up_after:
            data, self.hangs_up_after = data[: self.hangs_up_after], None
        try:
            for at in range(0, len(data), self.piece):
                request.wfile.write(data[at : at + self.piece])
                time.sleep(self.pause)
        except OSError:  # the client has hung up
            pass
        request.close_connection = len(data) < len(whole)

    def downloads(self) -> list[str]:
        return [path.rsplit("/", 1)[-1] for path, _ in self.asked if "/resolve/" in path]


def put(cache: Path, name: str, folder: Path, commit: str = "0" * 40) -> Path:
    """Put `folder` into the cache as the model `name`."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(folder, home / "snapshots" / commit))
