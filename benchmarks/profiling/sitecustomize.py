"""Which functions take a process's CPU time: sampled in every Python that has this on its path.

`benchmarks.deployment --profile` puts the folder into PYTHONPATH, so that Flower's own processes
run it as they start. A thread looks fifty times a second where each other thread is, and gives
that place the CPU time which the thread has had since the last look, from Linux's own count.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

_EVERY, _WRITTEN_EVERY = 0.02, 1.0  # seconds


def _nanoseconds(thread: threading.Thread) -> int | None:
    try:
        return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def _place(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}:{code.co_name}"


def _watch(folder: str) -> None:
    spent: Counter[str] = Counter()
    before: dict[int | None, int] = {}
    own, written = threading.get_ident(), time.monotonic()
    while True:
        time.sleep(_EVERY)
        # Places and no frames: a frame that is held keeps its variables from being freed.
        places = {thread: _place(frame) for thread, frame in sys._current_frames().items()}
        for thread in threading.enumerate():
            now, place = _nanoseconds(thread), places.get(thread.ident or 0)
            if now is None or place is None or thread.ident == own:
                continue
            spent[place] += now - before.get(thread.ident, now)
            before[thread.ident] = now
        if time.monotonic() - written > _WRITTEN_EVERY:
            written = time.monotonic()
            name = Path(sys.argv[0]).name
            whole = Path(folder, f"{name}-{os.getpid()}.tmp")
            whole.write_text(json.dumps(spent))
            whole.replace(whole.with_suffix(".json"))


if _folder := os.environ.get("FLWR_RESAM_PROFILE"):
    threading.Thread(target=_watch, args=(_folder,), daemon=True).start()
