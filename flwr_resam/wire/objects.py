"""Flower's objects: a head that names what they consist of, then bytes; arrays of chunks."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias, TypeGuard, cast

from flwr.app import Array

from ..scratch import Part

_HEAD = 256  # bytes, in which the head of a chunk ends: a name and a length

Content: TypeAlias = bytes | Part
"""An object's bytes, in memory or, where it is a chunk, in a file."""


def children_of(content: bytes) -> list[str]:
    """The ids of the objects that one consists of besides its own bytes, as its head lists them.

    Raises
    ------
    ValueError, IndexError
        For what is no object.
    """
    head, divider, _ = content.partition(b"\0")
    if not divider:
        raise ValueError("an object without a head")
    return _children(head)


def is_chunk(content: bytes) -> bool:
    """Whether an object holds a part of an array's bytes."""
    return content.startswith(b"ArrayChunk ")


def array_bytes(contents: Mapping[str, Content]) -> int:
    """How many bytes the arrays among these objects have once they are put together.

    An array lists its chunks, and may list one a million times.
    """
    return sum(
        len(contents.get(chunk, b"")) for content in contents.values() if _is_array(content)
        for chunk in _chunks_of(content)
    )


def take_arrays(contents: dict[str, Content]) -> dict[str, Array]:
    """Put the arrays among these objects together, and take their chunks out.

    As Flower's `Array.inflate` does, which holds all of them three times over meanwhile. Anything
    may be raised for what is no array.
    """
    orders = {
        key: _chunks_of(content) for key, content in contents.items() if _is_array(content)
    }
    uses = Counter(chunk for order in orders.values() for chunk in order)
    arrays: dict[str, Array] = {}
    for key, order in orders.items():
        head, _, body = cast(bytes, contents[key]).partition(b"\0")
        if set(order) != set(_children(head)):
            raise ValueError("an array whose chunks are not those that it lists")
        said = json.loads(body)
        arrays[key] = Array(
            dtype=said["dtype"], shape=tuple(said["shape"]), stype=said["stype"],
            data=_joined(contents, order, uses),
        )
    return arrays


def _joined(contents: dict[str, Content], order: list[str], uses: Counter[str]) -> bytes:
    """The bytes of chunks one after the other; a chunk leaves with its last use."""
    file = io.BytesIO()
    file.seek(sum(len(contents[chunk]) for chunk in order))
    file.write(b"\0")  # all of the space at once, since what grows is copied
    file.seek(0)
    for chunk in order:
        content = contents[chunk]
        whole = content if isinstance(content, bytes) else content.read()
        head, divider, _ = whole[:_HEAD].partition(b"\0")
        if not is_chunk(head) or not divider or _children(head):
            raise ValueError("an array of what is no chunk")
        file.write(memoryview(whole)[len(head) + 1 :])
        uses[chunk] -= 1
        if not uses[chunk]:
            del contents[chunk]
    file.truncate()
    return file.getvalue()  # no copy: the bytes are the file's own


def _is_array(content: Content) -> TypeGuard[bytes]:
    return isinstance(content, bytes) and content.startswith(b"Array ")


def _chunks_of(content: bytes) -> list[str]:
    """The ids of an array's chunks, in order."""
    head, _, body = content.partition(b"\0")
    children = _children(head)
    return [children[index] for index in json.loads(body)["arraychunk_ids"]]


def _children(head: bytes) -> list[str]:
    listed = head.split(b" ")[1].decode()
    return listed.split(",") if listed else []
