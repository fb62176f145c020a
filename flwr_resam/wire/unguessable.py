"""What nobody can know beforehand: the id of a message that is sent, and its records' ids."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from .flower import number_message
from .group import Group


def seal(message: Message) -> None:
    """Make the id of a message unguessable, and number it.

    Over the network the id is a hash of the message's own fields, and whoever can guess them
    can answer in the receiver's name. A secret in the group id is seen by the receiver alone.
    """
    group = Group.of(message.metadata.group_id)
    if not group.secret:
        message.metadata.group_id = str(replace(group, secret=secrets.token_hex(16)))
    number_message(message)


class _FreshConfig(ConfigRecord):
    """A ConfigRecord that no other is equal to, byte by byte, on the wire."""

    def deflate(self) -> bytes:
        return _with_secret(super().deflate(), self.__dict__)

    def __reduce__(self) -> Any:
        return ConfigRecord, (dict(self),)


class _FreshMetrics(MetricRecord):
    """A MetricRecord that no other is equal to, byte by byte, on the wire."""

    def deflate(self) -> bytes:
        return _with_secret(super().deflate(), self.__dict__)

    def __reduce__(self) -> Any:
        return MetricRecord, (dict(self),)


_FreshConfig.__qualname__, _FreshMetrics.__qualname__ = "ConfigRecord", "MetricRecord"
_UNUSED_FIELD = b"\xfa\x01"  # number 31, some bytes: readers pass over what they don't know


def fresh(content: RecordDict) -> RecordDict:
    """The same records as objects that nobody can guess; who reads them gets what was given.

    A SuperLink keeps each object once, under the hash of its bytes, and believes whoever names it
    first about what it consists of. A node that knows what will be sent next could name for it a
    part that never comes, so that nobody could fetch it. Arrays stay as they are: a model that was
    trained on is no more predictable than the others' updates.
    """
    made = RecordDict()
    for key, record in content.items():
        if isinstance(record, ConfigRecord):
            made[key] = _FreshConfig(dict(record))
        elif isinstance(record, MetricRecord):
            made[key] = _FreshMetrics(dict(record))
        else:
            made[key] = record
    return made


def _with_secret(content: bytes, remembered: dict[str, Any]) -> bytes:
    """An object of protobuf's with a field that nobody reads; the same whenever it is asked for."""
    secret = remembered.setdefault("_secret", secrets.token_bytes(16))
    head, _, body = content.partition(b"\0")
    kind, children, _ = head.split(b" ")
    body += _UNUSED_FIELD + bytes([len(secret)]) + secret
    return b"%s %s %d\0%s" % (kind, children, len(body), body)
