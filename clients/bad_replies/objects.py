"""Replies that hold objects which Flower does not serialise.

Only a node in one process with the server can hand them over; code in them would run there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import numpy as np
from flwr.app import Array, ArrayRecord, Error, RecordDict

from clients.bad_replies.reply import BadReply, Content, Level, Verdict, forced
from flwr_resam.wire.records import copied


def _refuse(*_: object) -> NoReturn:
    raise SystemExit("called")


_METHODS = (
    "getattribute", "hash", "eq", "iter", "len", "str", "repr", "bool", "getitem", "contains",
    "call", "index", "float", "format",
)
Hostile: type[Any] = type("Hostile", (), {f"__{name}__": _refuse for name in _METHODS})
"""Raises SystemExit, which is no Exception, whatever is done with it."""


class HostileText(str):
    """Text that raises when compared or formatted and, once `armed`, when it is looked up."""

    __slots__ = ()
    armed = False

    def __hash__(self) -> int:
        return _refuse() if HostileText.armed else str.__hash__("w")

    __eq__ = __str__ = __format__ = split = strip = _refuse  # type: ignore[assignment]


class HostileRecord(ArrayRecord):
    """A record that raises when it is read."""

    items = keys = values = __iter__ = __len__ = __getitem__ = _refuse

    @property
    def __dict__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit("dict")


class HostileBytes(bytes):
    """Bytes that raise when they are compared."""

    startswith = __eq__ = _refuse
    __hash__ = bytes.__hash__


def _bare(cls: type[Any], **attributes: object) -> Any:
    """An object that no constructor has seen."""
    made = object.__new__(cls)
    if attributes:
        made.__dict__.update(attributes)
    return made


def _with_array(make: Callable[[Array], object]) -> Content:
    """Put an object in place of the first array."""

    def change(content: RecordDict) -> RecordDict:
        made = copied(content)
        for record in made.array_records.values():
            name, honest = next(iter(record.items()))
            forced(record, name, make(honest))
        return made

    return change


def _with_data(change: Callable[[bytes], object]) -> Content:
    """Put an object in place of the first array's bytes."""

    def spoilt(honest: Array) -> Array:
        array = Array(honest.dtype, honest.shape, honest.stype, b"")
        array.__dict__["data"] = change(honest.data)
        return array

    return _with_array(spoilt)


def _alone(make: Callable[[], object]) -> Content:
    """Whatever the reply was, this."""
    return lambda _: make()


def _hostile_name(content: RecordDict) -> RecordDict:
    array = Array(np.ones(1, np.float32))
    (key, *_) = content.array_records
    return RecordDict({key: forced(ArrayRecord({"n": array}), HostileText("x"), array)})


def _hostile_key(content: RecordDict) -> RecordDict:
    record: RecordDict = forced(
        RecordDict(), HostileText("a"), next(iter(content.array_records.values()))
    )
    return record


_object = partial(BadReply, level=Level.OBJECT)

OBJECTS = [
    _object("no content", "The content is None.", content=_alone(lambda: None)),
    _object("a number", "The content is a number.", content=_alone(lambda: 3)),
    _object("hostile content", "The content raises whatever is done with it.",
            content=_alone(Hostile)),
    _object("array record for content", "The content is a record of arrays.",
            content=lambda content: next(iter(content.array_records.values()))),
    _object("unset content", "The content was never initialised.",
            content=_alone(lambda: _bare(RecordDict))),
    _object("hostile items", "The content holds an object in place of a dictionary.",
            content=_alone(lambda: _bare(RecordDict, _data=Hostile()))),
    _object("hostile key", "A record's name raises when it is compared.", content=_hostile_key),
    _object("hostile record", "A record raises whatever is done with it.",
            content=_alone(lambda: forced(RecordDict(), "a", Hostile()))),
    _object("subclass of a record", "A record is of a class of the sender's.",
            content=_alone(lambda: forced(RecordDict(), "a", _bare(HostileRecord)))),
    _object("shadowed methods", "A record has attributes in place of its methods.",
            content=_alone(lambda: forced(
                RecordDict(), "a", _bare(ArrayRecord, items=Hostile(), _data=Hostile())))),
    _object("hostile array", "An array raises whatever is done with it.",
            content=_with_array(lambda _: Hostile())),
    _object("unset array", "An array was never initialised.",
            content=_with_array(lambda _: _bare(Array))),
    _object("hostile array name", "An array's name raises when it is compared.",
            content=_hostile_name),
    _object("hostile bytes", "An array's bytes are an object that raises.",
            content=_with_data(lambda _: Hostile())),
    _object("subclass of bytes", "An array's bytes are of a class of the sender's.",
            content=_with_data(HostileBytes)),
    _object("no bytes", "An array's bytes are None.", content=_with_data(lambda _: None)),
    _object("text for bytes", "An array's bytes are text.",
            content=_with_data(lambda data: "x" * len(data))),
    _object("bytearray", "An array's bytes can be changed after they were read.",
            content=_with_data(bytearray)),
    _object("memoryview", "An array's bytes are another object's.",
            content=_with_data(memoryview)),
    _object("array for bytes", "An array's bytes are an array.",
            content=_with_data(lambda data: np.frombuffer(data, np.uint8))),
    _object("unset error", "An error in place of the content was never initialised.",
            content=_alone(lambda: _bare(Error))),
    _object("hostile reason", "An error's reason raises whatever is done with it.",
            verdict=Verdict.UNPROVEN,
            content=_alone(lambda: _bare(Error, _code=Hostile(), _reason=Hostile()))),
]
