"""The file for what does not fit in memory: what comes back, and that nothing stays."""

import errno
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from flwr_resam import scratch as module
from flwr_resam.scratch import SLOT, Scratch, ScratchError, Stored

SIZES = [0, 1, SLOT - 1, SLOT, SLOT + 1, 3 * SLOT + 5]


def draw(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


@pytest.fixture(params=["positioned", "seeking"])
def scratch(request, tmp_path):
    """As on Unix, and as where files have no positioned reads."""
    with Scratch(tmp_path) as made:
        made._positioned = request.param == "positioned"
        yield made


@pytest.mark.parametrize("size", SIZES)
def test_what_was_stored_comes_back_in_any_pieces(scratch, size):
    data = draw(size)
    before = scratch.store(b"before")
    stored = Stored(scratch)
    for start in range(0, size, 100_000):
        stored.append(data[start : start + 100_000])
    assert (len(stored), stored.read(0, size)) == (size, data)
    for start, stop in ((0, size // 2), (size // 3, size), (max(0, size - 1), size)):
        assert stored.read(start, stop) == data[start:stop]
    assert before.read(0, 6) == b"before"


def test_what_is_dropped_makes_room_for_the_next(scratch):
    kept = scratch.store(draw(2 * SLOT, 1))
    for seed in range(5):
        stored = scratch.store(draw(3 * SLOT, seed))
        assert stored.read(0, 3 * SLOT) == draw(3 * SLOT, seed)
        stored.drop()
    assert os.fstat(scratch._file.fileno()).st_size == 5 * SLOT
    assert kept.read(0, 2 * SLOT) == draw(2 * SLOT, 1)


def test_many_threads_may_store_and_read_at_once(scratch):
    wrong = []

    def work(seed):
        stored = scratch.store(draw(2 * SLOT + seed, seed))
        if stored.read(0, len(stored)) != draw(2 * SLOT + seed, seed):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_file_has_no_name_and_its_room_is_given_back(tmp_path):
    with Scratch(tmp_path) as scratch:
        scratch.store(draw(SLOT))
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        scratch.store(b"x")


def test_nothing_is_left_of_a_process_that_was_killed(tmp_path):
    program = (
        "import pathlib, sys, time\n"
        "from flwr_resam.scratch import Scratch\n"
        "scratch = Scratch(pathlib.Path(sys.argv[1]))\n"
        "scratch.store(bytes(1 << 20))\n"
        "print('stored', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "stored\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_or_not_ones_own_is_named(tmp_path):
    for folder in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=f"`spill` must be a folder .*{folder.name}"):
            Scratch(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="Permission denied"):
        Scratch(tmp_path)


def test_a_disk_with_too_little_room_is_said_before_anything_is_written(tmp_path):
    with Scratch(tmp_path) as scratch:
        scratch.check_room(1, "a row")
        with pytest.raises(ValueError, match=r"room for 9 rows: 1000000000.0 GB. Found .* GB free"):
            scratch.check_room(10**18, "9 rows")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_a_full_disk_is_an_error(tmp_path):
    with Scratch(tmp_path) as scratch:
        scratch._file.close()
        scratch._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
        with pytest.raises(ScratchError, match=r"can't write rows .* No space left") as found:
            scratch.store(b"x")
        assert found.value.errno == errno.ENOSPC


def test_a_disk_that_says_only_later_that_it_is_full_is_an_error(tmp_path, monkeypatch):
    def late(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Scratch(tmp_path) as scratch:
        scratch.store(b"x")
        scratch.settle()
        monkeypatch.setattr(module, "os", SimpleNamespace(**{**vars(os), "fsync": late}))
        with pytest.raises(ScratchError, match=r"can't write rows"):
            scratch.settle()


def test_a_file_that_was_cut_is_an_error_and_no_zeros(scratch):
    stored = scratch.store(draw(SLOT))
    os.ftruncate(scratch._file.fileno(), SLOT // 2)
    with pytest.raises(ScratchError, match=r"can't read rows .* ends too early"):
        stored.read(0, SLOT)
