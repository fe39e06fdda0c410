"""What the server lets in, on real servers of both modes, behind a proxy that counts what they ask of elsewhere."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from app import classroom
from app.doors import BASE, HOSTS, POLICY, refusal
from tests.builders.servers import answer, free_port, proxy, served


@pytest.mark.parametrize("host", ["localhost", "localhost:8501", "LOCALHOST:1", "127.0.0.1:8501", "[::1]:8501"])
def test_names_of_this_machine(host: str) -> None:
    assert refusal("http", "GET", "/", host, "") == ""
    assert refusal("websocket", "", "/_stcore/stream", host, f"http://{host}") == ""


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "evil.example:8501", "127.0.0.1.nip.io"]
)
def test_other_names_are_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not called" in refusal("http", "GET", "/", host, "")
    assert "not called" in refusal("websocket", "", "/", host, "")
    monkeypatch.setenv(HOSTS, "evil.example")
    assert refusal("http", "GET", "/", "evil.example:80", "") == ""


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost.evil.example"]
)
def test_other_pages_are_refused(origin: str) -> None:
    for kind, method in (("websocket", ""), ("http", "PUT"), ("http", "POST"), ("http", "DELETE")):
        assert "Another page" in refusal(kind, method, "/_stcore/stream", "localhost:8501", origin)
    assert refusal("http", "GET", "/", "localhost:8501", origin) == ""


def test_a_class_takes_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    put = ("http", "PUT", "/_stcore/upload_file/session/file", "localhost", "http://localhost")
    assert refusal(*put) == ""
    monkeypatch.setenv(classroom.VARIABLE, "1")
    assert "no files" in refusal(*put)


def knock(port: int, origin: str, host: str = "localhost") -> int:
    """The answer to a browser's request for a websocket: 101 where it is let in."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    return answer(port, "GET", "/_stcore/stream", **upgrade, Origin=origin, Host=f"{host}:{port}").status


@pytest.mark.parametrize("mode", [[], ["--class"]], ids=["alone", "class"])
def test_a_server_keeps_strangers_out_and_asks_nothing_of_elsewhere(mode: list[str], tmp_path: Path) -> None:
    port = free_port()
    with proxy() as (address, asked), served(port, address, tmp_path, *mode):
        page = answer(port, "GET", "/")
        assert page.status == 200
        assert page.headers["content-security-policy"] == POLICY
        assert BASE not in page.read()
        assert BASE in answer(port, "GET", "/runs", Accept="text/html", **{"Accept-Encoding": "gzip"}).read()
        for path in ("/", "/_stcore/health", "/media/x"):
            assert answer(port, "GET", path, Host="evil.example").status == 403
        assert knock(port, f"http://localhost:{port}") == 101
        assert knock(port, "http://evil.example") == 403
        assert knock(port, f"http://evil.example:{port}", "evil.example") == 403
        put = answer(port, "PUT", "/_stcore/upload_file/a/b", Origin=f"http://localhost:{port}")
        assert (put.status, b"no files" in put.read()) == ((403, True) if mode else (put.status, False))
        time.sleep(1)
        assert asked == []
