"""The proxy that devices connect to: nginx, which lets through what a SuperNode needs and no more.

Flower's SuperLink serves nodes, the ServerApp and the operator's commands on one port. Whoever
reaches that port can list and register nodes, and start and stop runs.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from string import Template

from simulations.deployment.keys import Keys
from simulations.flwr_cli import RunFailed, last_line
from simulations.processes import ProcessGroup

TEMPLATE = Path(__file__).with_name("nginx.conf.template")
LOG = "proxy.log"
MISSING = (
    "nginx is not installed (`apt-get install nginx`): the nodes connect to the SuperLink's own "
    "port, where each of them could also register nodes and start or stop runs."
)
# A SuperNode has a heartbeat, a poll and two objects under way at most.
_CONNECTIONS_OF_A_NODE = 4
_LEAST_CONNECTIONS = 32


def find_nginx() -> str | None:
    """The path of nginx, also where /usr/sbin is not on the PATH; None without it."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def nginx_conf(listen: str, superlink: str, keys: Path, connections: int) -> str:
    """The configuration for nginx.

    Parameters
    ----------
    listen : str
        Address and port that devices connect to.
    superlink : str
        Address and port of the SuperLink.
    keys : path
        The folder with ``ca.pem``, ``proxy.pem`` and ``proxy.key``.
    connections : int
        How many requests one address may have under way.
    """
    return Template(TEMPLATE.read_text(encoding="utf-8")).safe_substitute(
        PROXY_LISTEN=listen, PROXY_SUPERLINK=superlink, PROXY_KEYS=keys,
        PROXY_CONNECTIONS=connections,
    )


def start_proxy(
    nginx: str, port: int, superlink_port: int, keys: Keys, nodes: int, *,
    processes: ProcessGroup, home: Path, log: Path,
) -> subprocess.Popen[bytes]:
    """Start nginx on a port of the loopback interface, and return when it listens.

    Parameters
    ----------
    nginx : str
        What `find_nginx` returned.
    port, superlink_port : int
        Where the nodes connect, and where the SuperLink listens.
    keys : Keys
        Of the federation.
    nodes : int
        How many nodes connect; all have the same address here.
    processes : ProcessGroup
        Ends nginx when it ends.
    home, log : path
        An empty folder for nginx's own files, and the file for its messages.

    Raises
    ------
    RunFailed
        If nginx does not start.
    """
    connections = max(_LEAST_CONNECTIONS, _CONNECTIONS_OF_A_NODE * nodes)
    configuration = home / "nginx.conf"
    configuration.write_text(
        nginx_conf(
            f"127.0.0.1:{port}", f"127.0.0.1:{superlink_port}", keys.folder, connections
        ),
        encoding="utf-8",
    )
    command = [nginx, "-p", str(home), "-c", str(configuration), "-e", "stderr"]
    if os.geteuid() == 0:
        # Else its workers become nobody, who may not enter a private folder.
        import pwd  # there is none on Windows, where nobody is root

        command += ["-g", f"user {pwd.getpwuid(0).pw_name};"]
    process = processes.start(command, home, log)
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunFailed(f"The proxy ended at once: {last_line(log.read_text())}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return process
        time.sleep(0.05)
    raise RunFailed(f"The proxy did not listen within 20 s; see {log}")
