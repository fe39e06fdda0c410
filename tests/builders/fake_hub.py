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
    """Serves the files of one model or data set as the Hub does; remembers what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.piece = 1 << 16  # bytes between two pauses
        self.pause = 0.0
        self.hangs_up_after: int | None = None  # bytes of a file, once
        self.status = 200
        self.status_afterwards = 200  # once it has hung up
        self.large = True  # whether files are kept by their hash, as all but small texts are
        self.headers: dict[str, str] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None: ...

            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

        self.server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.address = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        if request.command == "GET":
            self.asked.append((path, request.headers.get("Range")))
        if self.status != 200:
            return self._send(request, self.status, b"{}", self.headers)
        if path.startswith(("/api/models/", "/api/datasets/")):
            listed = self._tree() if "/tree/" in path else self._info()
            return self._send(request, 200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        data = self.files[path.split(f"/resolve/{COMMIT}/")[1]]
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        headers = {"ETag": f'"{_sha256(data)}"', "X-Repo-Commit": COMMIT}
        return self._send(request, 206 if asked else 200, data[start:], headers)

    def _info(self) -> dict[str, object]:
        siblings = [{"rfilename": one["path"], "blobId": "x", "size": one["size"], **_lfs(one)} for one in self._tree()]
        return {"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": "x",
                **({"lfs": {"oid": _sha256(data), "size": len(data), "pointerSize": 1}} if self.large else {}),
            }
            for name, data in self.files.items()
        ]

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        whole = data
        if self.hangs_up_after is not None and len(data) > self.hangs_up_after:
            data, self.hangs_up_after = data[: self.hangs_up_after], None
            self.status = self.status_afterwards
        try:
            for at in range(0, len(data), self.piece):
                request.wfile.write(data[at : at + self.piece])
                time.sleep(self.pause)
        except OSError:  # the client has hung up
            pass
        request.close_connection = len(data) < len(whole)

    def downloads(self) -> list[str]:
        return [path.rsplit("/", 1)[-1] for path, _ in self.asked if "/resolve/" in path]


def _lfs(one: dict[str, object]) -> dict[str, object]:
    """The same facts under the names that the other of the Hub's two lists has."""
    lfs = one.get("lfs")
    return {"lfs": {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 1}} if isinstance(lfs, dict) else {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(cache: Path, name: str, folder: Path, commit: str = "0" * 40) -> Path:
    """Put `folder` into the cache as the model `name`."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(folder, home / "snapshots" / commit))
