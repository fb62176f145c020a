"""`flwr run` on Flower's Ray engine, with a SuperLink of its own that goes when the run is over."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import psutil

from simulations.experiment import PROJECT, Experiment
from simulations.results import SUMMARY, Evaluation, read_evaluations

LOG = "flower.log"
_MARK = "FLWR_RESAM_SIMULATION"
_POLL = 0.5
_STATUS_EVERY = 10.0


class RunFailed(RuntimeError):
    """A run that Flower did not complete; the message says why."""


def run_on_flower(experiment: Experiment, on_evaluation: Callable[[Evaluation], None]) -> None:
    """Run an experiment by `flwr run`, into its output folder.

    Parameters
    ----------
    experiment : Experiment
        With an absolute ``output_dir``.
    on_evaluation : callable
        Called for each evaluation as it comes.

    Raises
    ------
    RunFailed
        If the run's status, as `flwr ls` tells it, is not finished:completed.
    """
    folder = Path(experiment.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY).unlink(missing_ok=True)
    if not experiment.resume:
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    with _superlink(folder) as environment:
        run_id = _submit(experiment, environment)
        _follow(run_id, folder, environment, on_evaluation)


@contextmanager
def _superlink(folder: Path) -> Iterator[dict[str, str]]:
    """Start a SuperLink in simulation mode; yield the environment in which `flwr` talks to it."""
    port, control = _free_port(), _free_port()
    mark = uuid4().hex
    with tempfile.TemporaryDirectory(prefix="flwr-resam-") as home:
        (Path(home) / "config.toml").write_text(
            '[superlink]\ndefault = "local"\n\n'
            f'[superlink.local]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        environment = {
            "FLWR_TELEMETRY_ENABLED": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            **os.environ,
            "FLWR_HOME": home,
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
            _MARK: mark,
        }
        command = [
            "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess",
            "--host", "127.0.0.1", "--port", str(port),
            "--control-api-address", f"127.0.0.1:{control}",
        ]
        with (folder / LOG).open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        try:
            _await_health(process, port, folder / LOG)
            yield environment
        finally:
            _end_all(mark)
            process.wait()


def _submit(experiment: Experiment, environment: dict[str, str]) -> str:
    """Hand the project to the SuperLink and return the run's id."""
    config = Path(environment["FLWR_HOME"]) / "run-config.toml"
    # JSON scalars are TOML scalars.
    lines = [f"{key} = {json.dumps(value)}" for key, value in experiment.run_config().items()]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    nodes = f"num-supernodes={experiment.num_nodes} client-resources-num-cpus=1"
    done = _flwr(
        ["run", str(PROJECT), "local", "--run-config", str(config), "--federation-config", nodes,
         "--format", "json"],
        environment,
    )
    answer = _json(done.stdout)
    if done.returncode or not answer.get("run-id"):
        reason = answer.get("error-message") or _last_line(done.stdout + done.stderr)
        raise RunFailed(f"`flwr run` did not start the run: {reason}")
    return str(answer["run-id"])


def _follow(
    run_id: str,
    folder: Path,
    environment: dict[str, str],
    on_evaluation: Callable[[Evaluation], None],
) -> None:
    """Report evaluations until Flower says that the run is finished."""
    seen = 0
    asked = time.monotonic()
    while True:
        time.sleep(_POLL)
        for evaluation in read_evaluations(folder)[seen:]:
            on_evaluation(evaluation)
            seen += 1
        written = (folder / SUMMARY).exists()
        if not written and time.monotonic() - asked < _STATUS_EVERY:
            continue
        asked = time.monotonic()
        status = _status(run_id, environment)
        if status == "finished:completed":
            if not written and not (folder / SUMMARY).exists():
                raise RunFailed(f"The run finished without a result; see {folder / LOG}")
            return
        if status.startswith("finished"):
            said = _flwr(["log", run_id, "local", "--show"], environment)
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(said.stdout)
            raise RunFailed(f"{_cause(said.stdout)} (run {status}; log: {folder / LOG})")


def _status(run_id: str, environment: dict[str, str]) -> str:
    done = _flwr(["ls", "local", "--run-id", run_id, "--format", "json"], environment)
    runs = _json(done.stdout).get("runs") or [{}]
    return str(runs[0].get("status", "unknown"))


def _flwr(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["flwr", *arguments], env=environment, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )


def _await_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunFailed(f"The SuperLink ended at once: {_last_line(log.read_text())}")
        with suppress(URLError, OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return
        time.sleep(0.2)
    raise RunFailed(f"The SuperLink did not answer within 60 s; see {log}")


def _end_all(mark: str) -> None:
    """End every process that carries this run's mark: the SuperLink, the simulation, Ray."""
    running = marked(mark)
    for process in running:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(running, timeout=5)
    for process in marked(mark):
        with suppress(psutil.Error):
            process.kill()


def marked(mark: str) -> list[psutil.Process]:
    """The processes of a run, which all inherit its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(_MARK) == mark:
                found.append(process)
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _json(text: str) -> dict[str, object]:
    """Find the JSON object in what a command printed around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return {}
    try:
        found = json.loads(text[start : end + 1])
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _cause(log: str) -> str:
    """The message of the exception which ended the ServerApp, from the run's log."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log)
    named = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt)): (.+)$", text, re.M)
    return named[0][1] if named else _last_line(text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("Flower's local SuperLink is driven on Linux and macOS; use WSL on Windows.")
