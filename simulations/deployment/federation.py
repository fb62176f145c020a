"""A federation of processes on this machine, which end when it does."""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import psutil

from simulations.deployment.keys import Keys, make_keys
from simulations.deployment.proxy import LOG as PROXY_LOG
from simulations.deployment.proxy import MISSING, find_nginx, start_proxy
from simulations.flwr_cli import LOG, FlwrCli, RunFailed, last_line
from simulations.processes import ProcessGroup, free_ports

logger = logging.getLogger(__name__)


class Federation:
    """A SuperLink and its SuperNodes, each a process, on free ports of the loopback interface.

    With TLS the nodes connect to a proxy that keeps the SuperLink's other calls from them, where
    nginx is installed; a warning in the log says so where it is not.

    Parameters
    ----------
    num_nodes : int
        How many SuperNodes. Node i holds data partition i.
    byzantine : dict of int to str
        The partitions of Byzantine nodes, and the client that each of them runs.
    secure : bool
        TLS, and nodes that prove who they are by keys which were registered; without, anybody
        may connect, and a node that was killed comes back as another.
    folder : path
        Where the logs go: ``flower.log``, ``proxy.log`` and ``node-<i>.log``.

    Attributes
    ----------
    door : str
        Address and port that the nodes connect to: the proxy's, or the SuperLink's own.
    """

    def __init__(
        self, num_nodes: int, byzantine: dict[int, str], secure: bool, folder: Path
    ) -> None:
        self.num_nodes = num_nodes
        self._byzantine = byzantine
        self._secure = secure
        self._folder = folder
        self._stack = ExitStack()
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._proxy: subprocess.Popen[bytes] | None = None

    @property
    def keys(self) -> Keys | None:
        """The certificates and keys; None without TLS."""
        return self._keys

    @property
    def proxied(self) -> bool:
        """Whether the nodes connect to the proxy."""
        return self._proxy is not None

    @property
    def superlink_address(self) -> str:
        """The SuperLink's own address and port, which serve everything."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Federation:
        with ExitStack() as stack:
            self._home = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="flwr-resam-"))
            )
            self.processes = stack.enter_context(ProcessGroup({
                "FLWR_HOME": str(self._home),
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
                "PYTHONUNBUFFERED": "1",
            }))
            self._port, proxy_port, *self._node_ports = free_ports(2 + self.num_nodes)
            self._keys = make_keys(self._home / "keys", self.num_nodes) if self._secure else None
            self._start_superlink()
            self._start_proxy(proxy_port)
            for partition in range(self.num_nodes):
                self._register(partition)
                self.start_node(partition)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _superlink_command(self) -> list[str]:
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self._port)]
        if self._keys is None:
            command.append("--insecure")
        else:
            command += [
                "--ssl-ca-certfile", str(self._keys.ca),
                "--ssl-certfile", str(self._keys.certificate),
                "--ssl-keyfile", str(self._keys.key),
                "--enable-supernode-auth",
            ]
        return command

    def _start_superlink(self) -> None:
        superlink = self.processes.start(
            self._superlink_command(), self._home, self._folder / LOG
        )
        certificate = self._keys.ca if self._keys else None
        self.flwr = FlwrCli(self._home, self._port, self.processes.environment, certificate)
        self.flwr.await_superlink(superlink, self._folder / LOG)
        self.superlink = psutil.Process(superlink.pid)

    def _start_proxy(self, port: int) -> None:
        nginx = find_nginx()
        if self._keys is not None:
            if nginx is None:
                logger.warning(MISSING)
            else:
                home = self._home / "proxy"
                home.mkdir()
                self._proxy = start_proxy(
                    nginx, port, self._port, self._keys, self.num_nodes,
                    processes=self.processes, home=home, log=self._folder / PROXY_LOG,
                )
        self.door = f"127.0.0.1:{port}" if self._proxy else self.superlink_address

    def _register(self, partition: int) -> None:
        """Make the node's public key known to the SuperLink."""
        if self._keys is not None:
            self.flwr.register(self._keys.node_public(partition))

    def start_node(self, partition: int) -> None:
        """Start the SuperNode of a partition, also after it was killed."""
        config = f"partition-id={partition} num-partitions={self.num_nodes}"
        if partition in self._byzantine:
            config += f' byzantine="{self._byzantine[partition]}"'
        command = [
            "flower-supernode", "--superlink", self.door,
            "--host", "127.0.0.1", "--port", str(self._node_ports[partition]),
            "--node-config", config,
        ]
        if self._keys is None:
            command.append("--insecure")
        else:
            command += [
                "--root-certificates", str(self._keys.ca),
                "--auth-supernode-private-key", str(self._keys.node(partition)),
            ]
        self._nodes[partition] = self.processes.start(
            command, self._home, self.log_of(partition)
        )

    def kill_node(self, partition: int) -> None:
        """Kill a SuperNode with SIGKILL, together with the training that it has under way."""
        popen = self._nodes.pop(partition)
        node = psutil.Process(popen.pid)
        _kill([node, *node.children(recursive=True)])
        popen.wait()

    def kill_server_app(self) -> None:
        """Kill the ServerApp of the run under way with SIGKILL; the SuperLink stays."""
        found = [
            process for process in self.superlink.children(recursive=True)
            if any(Path(word).name == "flwr-serverapp" for word in _command(process))
        ]
        if not found:
            raise RunFailed("There is no ServerApp to kill.")
        _kill(found)

    def check(self) -> None:
        """Raise where the proxy has ended, or a SuperNode that was not killed by `kill_node`."""
        if self._proxy is not None and self._proxy.poll() is not None:
            said = last_line((self._folder / PROXY_LOG).read_text())
            raise RunFailed(f"The proxy ended: {said}")
        for partition, node in self._nodes.items():
            if node.poll() is not None:
                said = last_line(self.log_of(partition).read_text())
                raise RunFailed(f"The SuperNode of partition {partition} ended: {said}")

    def node_id(self, partition: int) -> int | None:
        """The id under which a SuperNode is connected, from its log; None before it is."""
        path = self.log_of(partition)
        found = re.findall(r"SuperNode ID: (\d+)", path.read_text()) if path.exists() else []
        return int(found[-1]) if found else None

    def instructions(self, partition: int) -> int:
        """How many TRAIN messages a SuperNode has received since the federation began."""
        path = self.log_of(partition)
        return path.read_text().count("Receiving: train message") if path.exists() else 0

    def log_of(self, partition: int) -> Path:
        """The file that a SuperNode logs to."""
        return self._folder / f"node-{partition}.log"


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline()[:2])
    return []
