"""Processes that end together, with everything that they started in turn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import psutil

_MARK = "FLWR_RESAM_SIMULATION"


class ProcessGroup:
    """Starts processes that carry a mark in their environment, and ends all that carry it.

    Flower and Ray start processes of their own, some of them detached: the mark is inherited,
    so none is left behind, and no process of anybody else is touched.

    Parameters
    ----------
    environment : mapping of str
        Added to this process's environment, which is kept where both say something else of
        telemetry.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._mark = uuid4().hex
        self._started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            "FLWR_TELEMETRY_ENABLED": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            **os.environ,
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
            **environment,
            _MARK: self._mark,
        }

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self, command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a command in a folder, with its output added to a file."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, env=self.environment, cwd=folder, stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End every process that carries the mark, and return when all are gone."""
        for end in (psutil.Process.terminate, psutil.Process.kill):
            marked = self.running()
            for process in marked:
                with suppress(psutil.Error):
                    end(process)
            psutil.wait_procs(marked, timeout=5)
        for child in self._started:
            child.wait()

    def running(self) -> list[psutil.Process]:
        """Return the processes that carry the mark, and those started here with their children."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                marked = process.environ().get(_MARK) == self._mark
                if marked and process.pid != os.getpid():
                    found.add(process)
        # nginx writes its title over its environment, so that the mark is gone.
        for child in self._started:
            if child.poll() is None:
                with suppress(psutil.Error):
                    process = psutil.Process(child.pid)
                    found |= {process, *process.children(recursive=True)}
        return list(found)


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that it ends what it started."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens to on the loopback interface, each another."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("Flower's processes are driven on Linux and macOS; use WSL on Windows.")
