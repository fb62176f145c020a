"""A file for what does not fit in memory: it has no name, and is gone when it is closed.

Bytes lie in slots of one size, which are used again once what was in them is dropped. So what
comes in piece by piece, from many at a time, takes no more room than it has bytes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from .errors import requirement

SLOT = 1 << 18
"""Bytes of a slot: a disk reads so many in a row about as fast as any number."""


class ScratchError(OSError):
    """The disk gave up: what was to be kept in the file is not there."""


class Scratch:
    """A file without a name in a folder.

    Where the system allows, the file never has a name; else it loses it at once, or when the
    process ends (Windows). So it is gone after an error, and after a kill.

    Parameters
    ----------
    folder : Path
        On a local disk with room enough.

    Raises
    ------
    ValueError
        If no file can be made there.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder, Scratch(Path(folder)) as scratch:
    ...     stored = scratch.store(b"abcdef")
    ...     os.listdir(folder), stored.read(2, 5)
    ([], b'cde')
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise requirement(
                "spill", "be a folder in which files can be made",
                f"{str(folder)!r} ({error.strerror or error})",
                "Name an existing folder of yours on a local disk",
            ) from error
        self._lock, self._moving = Lock(), Lock()
        self._free: list[int] = []
        self._slots = 0
        self._users = 1  # its maker, till `close`
        self._closed = False
        self.written = self.read = 0
        self._positioned = hasattr(os, "preadv")

    def __enter__(self) -> Scratch:
        """Nothing to do: the file is there."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Give the room back to the disk; what was stored can't be read any more.

        Where a thread is still at it, it happens when that is done.
        """
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._leave()

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The file, which stays open meanwhile: its number must not come to stand for another."""
        with self._lock:
            if self._closed:
                raise ValueError("the scratch file is closed")
            self._users += 1
        try:
            yield self._file
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._file.close()

    def check_room(self, size: int, what: str) -> None:
        """Raise a ValueError where the disk has less free space than ``size`` bytes."""
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise requirement(
                "spill", f"name a folder with room for {what}: {size / 1e9:.1f} GB",
                f"{free / 1e9:.1f} GB free in {str(self.folder)!r}",
                "Free some space, or name a folder on a larger disk",
            )

    def store(self, data: Any) -> Stored:
        """Keep bytes, or anything that has a buffer of bytes."""
        stored = Stored(self)
        stored.append(data)
        return stored

    def settle(self) -> None:
        """Wait until all lies on the disk, for some disks say only then that they are full.

        Raises
        ------
        ScratchError
        """
        try:
            with self._open() as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failure("write", error) from error

    def take(self) -> int:
        """A slot that nothing uses."""
        with self._lock:
            if self._free:
                return self._free.pop()
            self._slots += 1
            return self._slots - 1

    def give_back(self, slots: list[int]) -> None:
        """Let slots be used again."""
        with self._lock:
            self._free.extend(reversed(slots))

    def write(self, slot: int, start: int, data: memoryview) -> None:
        """Write into a slot; raises a ScratchError where not all of it could be written."""
        place, done = slot * SLOT + start, 0
        try:
            while done < len(data):
                done += self._write(place + done, data[done:])
        except OSError as error:
            raise self._failure("write", error) from error
        self.written += done

    def fill(self, slot: int, start: int, out: memoryview) -> None:
        """Read ``out`` full from a slot; raises a ScratchError where it can't be."""
        place, done = slot * SLOT + start, 0
        try:
            while done < len(out):
                count = self._read(place + done, out[done:])
                if not count:
                    raise OSError("the file ends too early")
                done += count
        except OSError as error:
            raise self._failure("read", error) from error
        self.read += done

    def expect(self, slot: int) -> None:
        """Tell the system that this slot will be read soon."""
        if hasattr(os, "posix_fadvise"):
            with self._open() as file:
                os.posix_fadvise(file.fileno(), slot * SLOT, SLOT, os.POSIX_FADV_WILLNEED)

    def _write(self, place: int, data: memoryview) -> int:
        with self._open() as file:
            if self._positioned:
                return os.pwrite(file.fileno(), data, place)
            with self._moving:
                file.seek(place)
                return int(file.write(data))

    def _read(self, place: int, out: memoryview) -> int:
        with self._open() as file:
            if self._positioned:
                return os.preadv(file.fileno(), [out], place)
            with self._moving:
                file.seek(place)
                return int(file.readinto(out))

    def _failure(self, act: str, error: OSError) -> ScratchError:
        why = error.strerror or str(error)
        return ScratchError(error.errno or 0, (
            f"can't {act} rows that `spill` keeps in {str(self.folder)!r}: {why}. The round is "
            "lost, and nothing was computed from what is left of it. Free some space, or name a "
            "folder on a sound disk"
        ))


class Stored:
    """Some bytes in a scratch file.

    Attributes
    ----------
    size : int
        How many.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._slots: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        """How many bytes."""
        return self.size

    def append(self, data: Any) -> None:
        """Write bytes behind those that are there."""
        rest = memoryview(data).cast("B")
        while len(rest):
            start = self.size % SLOT
            if start == 0:
                self._slots.append(self._scratch.take())
            part = rest[: SLOT - start]
            self._scratch.write(self._slots[-1], start, part)
            self.size += len(part)
            rest = rest[len(part) :]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` up to ``stop``."""
        out = bytearray(stop - start)
        self.fill(start, memoryview(out))
        return bytes(out)

    def fill(self, start: int, out: memoryview) -> None:
        """Read ``out`` full, from ``start`` on; the slot behind is read ahead."""
        while len(out):
            index, within = divmod(start, SLOT)
            part = out[: SLOT - within]
            if within < len(part) and index + 1 < len(self._slots):
                self._scratch.expect(self._slots[index + 1])
            self._scratch.fill(self._slots[index], within, part)
            start, out = start + len(part), out[len(part) :]

    def part(self, start: int, stop: int) -> Part:
        """The bytes from ``start`` up to ``stop``, to be read later."""
        return Part(self, start, stop)

    def drop(self) -> None:
        """Forget the bytes; their room is used again."""
        self._scratch.give_back(self._slots)
        self._slots, self.size = [], 0


class Part:
    """Some of the bytes that were stored together."""

    def __init__(self, stored: Stored, start: int, stop: int) -> None:
        self._stored, self._start, self._stop = stored, start, stop

    def __len__(self) -> int:
        """How many bytes."""
        return self._stop - self._start

    def read(self) -> bytes:
        """All of them."""
        return self._stored.read(self._start, self._stop)
