"""Coverage-guided fuzzing of the gate, for anyone to repeat: no test of the default run.

    pip install atheris
    python -m fuzz.intake -runs=100000

Each input of the fuzzer becomes a reply: good arrays, of which one holds the input's bytes, and
by its first three bytes other names, records, dtypes or metrics beside it. The fuzzer sees which
branches of the gate an input takes and looks for inputs that take new ones. It stops at the first
exception, non-finite row, or reply that is neither a row nor a rejection, and prints now
and then what came out and how much the process grew.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import cast

import atheris
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from clients.bad_replies import BAD_REPLIES, Level

with atheris.instrument_imports(include=["flwr_resam.wire.npy", "flwr_resam.server.gate",
                                         "flwr_resam.wire.layout", "flwr_resam.server.metrics"]):
    from flwr_resam.rows.source import Segments
    from flwr_resam.server.gate import Rejection, read_reply
    from flwr_resam.server.metrics import robust_metrics
    from flwr_resam.wire.layout import Layout

MODEL = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(2),
    "n": np.array(3),
    "half": np.ones((2, 1, 2), np.float16),
    "empty": np.zeros((0, 4), np.float32),
}
ARRAYS = {name: Array(value) for name, value in MODEL.items()}
LAYOUT = Layout.of(ArrayRecord(ARRAYS))
SENT = LAYOUT.views(ArrayRecord(ARRAYS))
NAMES = list(MODEL)
HONEST = [RecordDict({"m": MetricRecord({"loss": loss})}) for loss in (0.1, 0.2, 0.3)]

outcomes: Counter[str] = Counter()
sizes: list[int] = []


def reply_of(data: bytes) -> RecordDict:
    """Make a reply of the fuzzer's bytes."""
    first, second, third, payload = data[0], data[1], data[2], data[3:]
    name = NAMES[first % len(NAMES)]
    array = Array("float32", (second, third), "numpy.ndarray", payload)
    arrays = {**ARRAYS, name: array}
    if first & 0x40:
        arrays[payload[:8].decode("latin-1")] = array
    if first & 0x80:
        del arrays[NAMES[third % len(NAMES)]]
    content = RecordDict({"momentum" if second & 1 else "arrays": ArrayRecord(arrays)})
    if second & 2:
        content["again"] = ArrayRecord({name: array})
    if second & 4:
        content["c"] = ConfigRecord({"x": payload})
    if second & 8:
        values = np.frombuffer(payload[: len(payload) // 8 * 8]).tolist()
        loss = values if second & 16 else (values or [0.0])[0]
        content["m"] = MetricRecord({"loss": loss})
    return content


def one_input(data: bytes) -> None:
    """Let one reply through the gate, and its metrics through the median."""
    if len(data) < 3:
        return
    reply = reply_of(data)
    row = read_reply(reply, 1, LAYOUT, SENT)
    if isinstance(row, Segments):
        out = np.empty(row.size)
        row.read(0, row.size, out)
        assert row.size == LAYOUT.size
        assert np.isfinite(out).all()
        outcomes["rows"] += 1
    else:
        assert isinstance(row, Rejection)
        assert row.reason
        assert len(row.reason) < 200
        outcomes["rejections"] += 1
    assert 0.1 <= robust_metrics([*HONEST, reply], 1)["loss"] <= 0.3
    done = sum(outcomes.values())
    if done % 20_000 == 0:
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(
            f"{done} replies: {dict(outcomes)}; the process has grown by "
            f"{sizes[-1] - sizes[0]} KiB since the 20000th", file=sys.stderr, flush=True,
        )


def seeds(folder: Path) -> None:
    """Write good inputs for each array, what the catalogue makes of one, and some odd headers."""
    for index, name in enumerate(NAMES):
        for flags in range(0, 32, 5):
            data = bytes([index, flags, 0]) + ARRAYS[name].data
            (folder / f"{name}-{flags}").write_bytes(data)
    honest = RecordDict({"arrays": ArrayRecord(ARRAYS)})
    for kind, bad in BAD_REPLIES.items():
        if bad.level is Level.BYTES and bad.content is not None:
            spoilt = cast(RecordDict, bad.content(honest))
            (folder / kind).write_bytes(bytes(3) + spoilt.array_records["arrays"]["w"].data)
    header = b"{\"shape\": (2, 3,), 'fortran_order': True, 'descr': '<f4'}\n"
    for version, width in ((1, 2), (2, 4), (3, 4)):
        size = len(header).to_bytes(width, "little")
        start = b"\x93NUMPY" + bytes([version, 0]) + size + header
        (folder / f"header-{version}").write_bytes(b"\x00\x01\x00" + start + bytes(24))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        seeds(Path(corpus))
        atheris.Setup([*sys.argv, "-max_len=512", "-rss_limit_mb=2048", corpus], one_input)
        atheris.Fuzz()
