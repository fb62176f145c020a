"""The page of a run on the loopback interface, which asks for what is new."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import requirement
from ..server.ledger import LEDGER
from ..server.rounds import ROUNDS
from .page import data, html, plotly, script
from .prometheus import exposition
from .view import View, view

if TYPE_CHECKING:
    from starlette.applications import Starlette

_SHARE = 0.1  # of the time may go into reading a run again


class Reader:
    """The view of a folder, read again where its files have changed.

    Parameters
    ----------
    folder : Path
        May be made later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._state: tuple[object, ...] = ()
        self._view: View | None = None
        self._next = 0.0

    def read(self) -> tuple[str, View]:
        """Return a tag that changes with the view, and the view."""
        with self._lock:
            state = tuple(_state(self._folder / name) for name in (LEDGER, ROUNDS))
            if self._view is None or (state != self._state and time.monotonic() >= self._next):
                began = time.monotonic()
                self._view, self._state = view(self._folder), state
                self._next = time.monotonic() + (time.monotonic() - began) / _SHARE
            return f'"{hash(self._state):x}"', self._view


def application(folder: Path) -> Starlette:
    """Return the ASGI application: ``/``, its scripts, ``/data.json`` and ``/metrics``.

    Requests with another host name than the loopback interface's are refused, so that no page of
    another site can read it.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.middleware.gzip import GZipMiddleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise requirement(
            "starlette", "be installed to watch a run", "none", 'pip install "flwr-resam[watch]"',
            error=ImportError,
        ) from error
    reader, drawing = Reader(folder), plotly()

    async def page(_: Request) -> Response:
        seen = (await run_in_threadpool(reader.read))[1]
        return Response(html(seen, live=True), media_type="text/html", headers=_HEADERS)

    async def newest(request: Request) -> Response:
        tag, seen = await run_in_threadpool(reader.read)
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        return Response(
            data(seen), media_type="application/json",
            headers={"ETag": tag, "Cache-Control": "no-store"},
        )

    async def metrics(_: Request) -> Response:
        seen = (await run_in_threadpool(reader.read))[1]
        return Response(exposition(seen), media_type="text/plain; version=0.0.4")

    async def scripts(request: Request) -> Response:
        own = request.url.path == "/page.js"
        return Response(script() if own else drawing, media_type="text/javascript")

    async def told(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), status_code=500)

    return Starlette(
        routes=[
            Route("/", page), Route("/data.json", newest), Route("/metrics", metrics),
            Route("/page.js", scripts), Route("/plotly.js", scripts),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            Middleware(GZipMiddleware, minimum_size=10_000),
        ],
        exception_handlers=dict.fromkeys((ValueError, OSError, ImportError), told),
    )


def serve(folder: Path, port: int, ready: Callable[[str], object]) -> None:
    """Serve the page on 127.0.0.1 until the process is told to end.

    Parameters
    ----------
    ready : callable
        Called with the page's address.

    Raises
    ------
    OSError
        If the port is taken.
    ValueError
        If there is a file in the folder's place.
    """
    import socket

    if folder.exists() and not folder.is_dir():
        raise requirement(
            "folder", "be the `output_dir` of a run", f"`{folder}`, a file", "Name its folder"
        )

    application_ = application(folder)
    import uvicorn

    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise requirement(
            "--port", "be free to listen on", f"{port} ({error.strerror})",
            "Give another one, or 0 for any", error=OSError,
        ) from error
    with listener:
        ready(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        config = uvicorn.Config(application_, log_level="warning", ws="none")
        uvicorn.Server(config).run(sockets=[listener])


_HEADERS = {
    "Content-Security-Policy":
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:",
    "X-Frame-Options": "DENY",
}


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
