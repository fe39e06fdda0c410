"""What the server lets in and what its pages may ask of a browser (no Streamlit here).

Requests come under a name of this machine and from its own pages, or not at all. So a page elsewhere can neither talk
to the explorer nor reach it by a name of its own that leads here, and no request makes Streamlit ask elsewhere for this
machine's address, as it would to judge a foreign page. Pages load nothing from elsewhere, whatever stands in them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from app.classroom import rules

HOSTS = "HAP_HOSTS"  # further names of this machine, with commas between: of a class, of a proxy
HERE = ("localhost", "127.0.0.1", "::1")
UPLOADS = "/_stcore/upload_file"
# Streamlit's own page needs its scripts and styles; what is not named may come from this server alone.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "frame-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
# Where a page other than the first finds the server: Streamlit would first ask under the page's path, which is a 404.
BASE = b"<script>window.__streamlit={BACKEND_BASE_URL:location.origin+location.pathname.replace(/[^/]*$/,'')}</script>"
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def refusal(kind: str, method: str, path: str, host: str, origin: str) -> str:
    """Why a request is not let in; empty if it is.

    Args:
        kind: ``http`` or ``websocket``.
        host, origin: as its headers say; empty without one.
    """
    name = (urlsplit(f"//{host}").hostname or "?").rstrip(".")
    if name not in (*HERE, *os.environ.get(HOSTS, "").lower().split(",")):
        return f"This explorer is not called {name[:80]!r}. Open it as http://localhost, or name it in {HOSTS}."
    changes = kind == "websocket" or method not in ("GET", "HEAD", "OPTIONS")
    if changes and origin and urlsplit(origin).netloc != host:
        return "Another page may not talk to the explorer."
    if changes and path.startswith(UPLOADS) and rules() is not None:
        return "In class mode no files are taken."
    return ""


class Doors:
    """ASGI middleware around Streamlit: see `refusal`, and `HEADERS` on every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        told = {name: value.decode("latin-1") for name, value in scope["headers"]}
        asked = scope["type"], scope.get("method", ""), scope["path"]
        try:
            why = refusal(*asked, told.get(b"host", ""), told.get(b"origin", ""))
        except ValueError:  # no address has such a form
            why = "The request names no host."
        if not why and b"text/html" in dict(scope["headers"]).get(b"accept", b"") and scope["path"] != "/":
            plain = [pair for pair in scope["headers"] if pair[0] not in (b"accept-encoding", b"if-none-match")]
            return await self.app({**scope, "headers": plain}, receive, _with_base(_with_headers(send)))
        if not why:
            return await self.app(scope, receive, _with_headers(send))
        if scope["type"] == "websocket":
            await receive()  # its request to connect
            return await send({"type": "websocket.close", "code": 1008, "reason": why[:100]})
        plain = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
        await send({"type": "http.response.start", "status": 403, "headers": plain})
        return await send({"type": "http.response.body", "body": why.encode()})


def _with_base(send: Send) -> Send:
    """Put `BASE` into a page, as its first script."""
    held: list[Message] = []

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            held.append(message)
            return
        if held:
            message["body"] = message["body"].replace(b"<head>", b"<head>" + BASE, 1)
            start = held.pop()
            kept = [pair for pair in start["headers"] if pair[0] not in (b"content-length", b"etag", b"last-modified")]
            whole = [] if message.get("more_body") else [(b"content-length", str(len(message["body"])).encode())]
            await send({**start, "headers": [*kept, *whole]})
        await send(message)

    return sent


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sent
