"""The `flwr` command, driven: submit a run, follow it, ask for its status and its log."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from flwr_resam.server.ledger import Ledger
from simulations.experiment import Experiment
from simulations.results import SUMMARY, Evaluation, begin, read_evaluations

LOG = "flower.log"
CONNECTION = "resam"
_POLL = 0.5
_STATUS_EVERY = 10.0


class RunFailed(RuntimeError):
    """A run that Flower did not complete; the message says why."""


class FlwrCli:
    """Calls `flwr` for one SuperLink.

    Parameters
    ----------
    home : path
        The FLWR_HOME to write the connection into.
    port : int
        The SuperLink's port on the loopback interface.
    environment : mapping of str
        The environment of the calls.
    certificate : path or None
        The CA certificate by which the SuperLink is known; None talks without TLS.
    """

    def __init__(
        self, home: Path, port: int, environment: Mapping[str, str], certificate: Path | None
    ) -> None:
        self._home = home
        # Colours in what it prints would be read as part of its answers.
        self._environment = {**environment, "FLWR_HOME": str(home), "NO_COLOR": "1"}
        self._environment.pop("FORCE_COLOR", None)
        self._url = f"http{'s' if certificate else ''}://127.0.0.1:{port}"
        self._tls = ssl.create_default_context(cafile=certificate) if certificate else None
        trust = f"root-certificates = {json.dumps(str(certificate))}" if certificate else (
            "insecure = true"
        )
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{port}"\n{trust}\n',
            encoding="utf-8",
        )

    def await_superlink(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Return when the SuperLink answers; raise where it ended or took a minute."""
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RunFailed(f"The SuperLink ended at once: {last_line(log.read_text())}")
            with suppress(URLError, OSError), urlopen(
                f"{self._url}/health", timeout=1, context=self._tls
            ):
                return
            time.sleep(0.2)
        raise RunFailed(f"The SuperLink did not answer within 60 s; see {log}")

    def submit(
        self, project: Path, run_config: Mapping[str, object], federation: str = ""
    ) -> str:
        """Hand a Flower App to the SuperLink and return the run's id."""
        config = self._home / "run-config.toml"
        # JSON scalars are TOML scalars.
        lines = [f"{key} = {json.dumps(value)}" for key, value in run_config.items()]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        arguments = ["run", str(project), CONNECTION, "--run-config", str(config)]
        if federation:
            arguments += ["--federation-config", federation]
        answer, said = self.call(arguments)
        if not answer.get("run-id"):
            reason = answer.get("error-message") or last_line(said)
            raise RunFailed(f"`flwr run` did not start the run: {reason}")
        return str(answer["run-id"])

    def follow(
        self,
        run_id: str,
        folder: Path,
        on_evaluation: Callable[[Evaluation], None],
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Report evaluations until Flower says that the run is finished, or ``until`` says so.

        Parameters
        ----------
        run_id : str
            What `submit` returned.
        folder : path
            The run's output folder.
        on_evaluation : callable
            Called for each evaluation as it comes.
        until : callable
            Asked twice a second; True leaves the run as it goes on.

        Raises
        ------
        RunFailed
            If the run's status, as `flwr ls` tells it, is not finished:completed.
        """
        seen = 0
        asked = time.monotonic()

        def show() -> None:
            nonlocal seen
            for evaluation in read_evaluations(folder)[seen:]:
                on_evaluation(evaluation)
                seen += 1

        while True:
            time.sleep(_POLL)
            show()
            if until():
                return
            written = (folder / SUMMARY).exists()
            if not written and time.monotonic() - asked < _STATUS_EVERY:
                continue
            asked = time.monotonic()
            status = self.status(run_id)
            if status == "finished:completed":
                if not written and not (folder / SUMMARY).exists():
                    raise RunFailed(f"The run finished without a result; see {folder / LOG}")
                show()  # what came while Flower was asked
                return
            if status.startswith("finished"):
                said = self.log(run_id)
                with (folder / LOG).open("a", encoding="utf-8") as log:
                    log.write(said)
                raise RunFailed(f"{_cause(said)} (run {status}; log: {folder / LOG})")

    def register(self, public_key: Path) -> int:
        """Make a SuperNode's public key known and return the id that the node will have."""
        answer, said = self.call(["supernode", "register", str(public_key), CONNECTION])
        node = answer.get("node-id")
        if not isinstance(node, int | str):
            raise RunFailed(f"`flwr supernode register` failed: {last_line(said)}")
        return int(node)

    def nodes(self) -> dict[int, str]:
        """Return the status of each node by its id: registered, online or offline."""
        answer, _ = self.call(["supernode", "list", CONNECTION])
        nodes = answer.get("nodes")
        found = nodes if isinstance(nodes, list) else []
        return {int(node["node-id"]): str(node["status"]) for node in found}

    def status(self, run_id: str) -> str:
        """Return what `flwr ls` says of a run."""
        answer, _ = self.call(["ls", CONNECTION, "--run-id", run_id])
        runs = answer.get("runs")
        return str(runs[0].get("status", "unknown")) if isinstance(runs, list) and runs else (
            "unknown"
        )

    def log(self, run_id: str) -> str:
        """Return what the ServerApp of a run has logged, without colours."""
        done = self._run(["log", run_id, CONNECTION, "--show"])
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    def call(self, arguments: Sequence[str]) -> tuple[dict[str, object], str]:
        """Call `flwr`; return the JSON object that it answers and all that it said."""
        done = self._run([*arguments, "--format", "json"])
        said = done.stdout + done.stderr
        return _json(done.stdout), said

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["flwr", *arguments], env=self._environment, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )


def prepare(experiment: Experiment) -> Path:
    """Make a run's output folder ready, as `begin` does, without an old log; return it.

    The ServerApp, a process of its own, is what then holds the folder.
    """
    folder = Path(experiment.output_dir)
    with closing(Ledger(folder)):
        begin(experiment, folder)
        (folder / LOG).unlink(missing_ok=True)
    return folder


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
    named = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt)): (.+)$", log, re.M)
    return named[0][1] if named else last_line(log)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
