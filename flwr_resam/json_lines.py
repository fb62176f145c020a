"""Files of one JSON value a line, which a process may be writing, or may have died writing."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import requirement

T = TypeVar("T")


def read_json_lines(path: Path, read: Callable[[Any], T], what: str, cure: str) -> list[T]:
    """Read what each whole line holds; a last line that is not whole is left out.

    Parameters
    ----------
    path : Path
        A file that is not there holds nothing; one that ends in ``.gz`` is unpacked.
    read : callable
        Of the value of a line; raises ValueError, TypeError or KeyError where it is no such thing.
    what, cure : str
        What a line is, and what to do about one that isn't.

    Raises
    ------
    ValueError
        That names the first line which can't be read.
    """
    if not path.exists():
        return []
    found = []
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise requirement(
                path.name, "be whole, and packed by gzip", f"`{path}`: {error}",
                "Take it from where it came from again",
            ) from None
    lines = data.decode("utf-8", errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            found.append(read(json.loads(line)))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise requirement(
                path.name, f"hold {what} a line", f"line {number} of `{path}`: {line[:60]!r}", cure
            ) from None
    return found


def rewrite_lines(path: Path, lines: Iterable[str]) -> None:
    """Put these lines in place of what a file holds; a kill leaves the old or the new."""
    fresh = path.with_suffix(".tmp")
    try:
        fresh.write_text("".join(lines), encoding="utf-8")
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()  # a full disk needs the room
        raise
