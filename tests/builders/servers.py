"""Real servers of the explorer, behind a proxy that counts what they ask of elsewhere."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a proxy that answers nothing, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    one, _ = server.accept()
                    with closing(one):
                        asked.append(one.recv(200))

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://localhost:{server.getsockname()[1]}", asked


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as probe:
        return int(probe.getsockname()[1])


def through(address: str, home: Path) -> dict[str, str]:
    """The environment of a process that reaches elsewhere only through the proxy at `address`."""
    proxies = {f"{name}_proxy": address for name in ("http", "https", "all")}
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return environment | proxies | {key.upper(): value for key, value in proxies.items()} | {"HAP_HOME": str(home)}


@contextmanager
def served(port: int, address: str, home: Path, *mode: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at `port`, behind the proxy at `address`."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "app.serve", "--port", str(port), *mode]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=through(address, home), stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            with suppress(OSError):
                if answer(port, "GET", "/_stcore/health").status == 200:
                    break
            time.sleep(0.2)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=20)


def answer(port: int, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"localhost:{port}"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()
