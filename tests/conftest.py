"""What the tests share: a small federation in process that replies as each test wants."""

from __future__ import annotations

import gzip
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import settings

import flwr_resam.wire.flower  # noqa: F401  importing flwr sets its logger up; the fixture mutes it
from flwr_resam import InProcessGrid
from simulations.processes import ProcessGroup, free_ports
from tests.support import await_text, idx

# The same examples in every run and no clock, so that what passes here passes there;
# HYPOTHESIS_PROFILE=exploring looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def quiet_flower() -> Iterator[None]:
    """Keep Flower's console handler from drowning the test report; records still propagate."""
    logger = logging.getLogger("flwr")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.DEBUG)  # commands turn it down for the process that they are
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


Reply = Callable[[Message, int], RecordDict]


@pytest.fixture
def federation() -> Callable[[Reply, int], InProcessGrid]:
    """Make a grid whose node i answers TRAIN with ``reply(message, i)``."""

    def make(reply: Reply, num_nodes: int) -> InProcessGrid:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            content = reply(message, int(context.node_config["partition-id"]))
            return Message(content, reply_to=message)

        return InProcessGrid(app, num_nodes)

    return make


@pytest.fixture
def small_mnist(tmp_path: Path) -> Iterator[Path]:
    """A root with an MNIST of 20 training and 5 test images, packed, which can't be written."""
    draw = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 5)):
        images = draw.integers(256, size=(count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))
    raw.chmod(0o555)
    yield tmp_path
    raw.chmod(0o755)


@pytest.fixture
def two_ray_nodes(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster of two nodes of one core each, started as a person would."""
    small = [
        "--block", "--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1",
    ]
    # Ray's sockets lie in this folder, and a socket's path is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ProcessGroup({}) as group:
        (port,) = free_ports(1)
        head = ["ray", "start", "--head", f"--port={port}", f"--temp-dir={folder}", *small]
        group.start([*head, "--include-dashboard=false"], tmp_path, tmp_path / "head.log")
        await_text(tmp_path / "head.log", "Ray runtime started")
        second = ["ray", "start", f"--address=127.0.0.1:{port}", *small]
        group.start(second, tmp_path, tmp_path / "second.log")
        await_text(tmp_path / "second.log", "Ray runtime started")
        yield f"127.0.0.1:{port}"
