"""How one of a class is written: in a run-config, in a table, and in the cure of an error.

A rule, an attack or the like is a dataclass that says its own `name`; what is written of it is
made here, of that name and the dataclass's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, ClassVar

import numpy as np


class Named:
    """What a run-config names: a dataclass whose fields are its arguments."""

    name: ClassVar[str]

    def __str__(self) -> str:
        """As run-configs write it: the name, and the arguments that are not the defaults."""
        changed = {
            field.name: getattr(self, field.name) for field in arguments(type(self))
            if _differ(getattr(self, field.name), default(field))
        }
        return _written(name_of(type(self)), changed)


def name_of(kind: type[Any]) -> str:
    """What a class is called; one that can't be registered, since it says no name, as in Python.

    Examples
    --------
    >>> from flwr_resam.aggregators import MDA
    >>> name_of(MDA), name_of(Named)
    ('mda', 'Named')
    """
    return str(getattr(kind, "name", kind.__name__))


def arguments(kind: type[Any]) -> list[Field[Any]]:
    """What one of a class is made of; nothing where it is no dataclass."""
    return [field for field in fields(kind) if field.init] if is_dataclass(kind) else []


def default(field: Field[Any]) -> object:
    """The default of an argument, `dataclasses.MISSING` for one that must be given."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def required(kind: type[Any]) -> list[str]:
    """The arguments of a class that must be given."""
    return [field.name for field in arguments(kind) if default(field) is MISSING]


def usage(kind: type[Named]) -> str:
    """How a run-config names one of a class, with the arguments that must be given.

    Examples
    --------
    >>> from flwr_resam.aggregators import MDA, CenteredClipping
    >>> usage(MDA), usage(CenteredClipping)
    ('mda', 'cc(radius=...)')
    """
    return _written(name_of(kind), dict.fromkeys(required(kind), "..."))


def signature(kind: type[Named]) -> str:
    """How a run-config names one of a class, with all arguments and their defaults.

    Examples
    --------
    >>> from flwr_resam.aggregators import CenteredClipping
    >>> signature(CenteredClipping)
    'cc(radius=..., steps=3)'
    """
    all_of_them = {field.name: default(field) for field in arguments(kind)}
    return _written(name_of(kind), all_of_them | dict.fromkeys(required(kind), "..."))


def making(kind: type[Any]) -> str:
    """How Python makes one of a class, for the cure where the class itself was given.

    Examples
    --------
    >>> from flwr_resam.aggregators import MDA, CenteredClipping
    >>> making(MDA), making(CenteredClipping)
    ('MDA()', 'CenteredClipping(radius=...)')
    """
    return f"{kind.__name__}({', '.join(f'{name}=...' for name in required(kind))})"


def meant(given: object, base: type[Any], parse: str, otherwise: str) -> str:
    """How Python makes the one of ``base`` that was given in some other form; for a cure.

    ``parse`` is the function that reads text; ``otherwise`` is for what comes near to none.

    Examples
    --------
    >>> from flwr_resam.attacks import FOE, Attack
    >>> meant("foe", Attack, "parse_attack", "FOE()")
    'parse_attack("foe")'
    >>> meant(FOE, Attack, "parse_attack", "FOE()"), meant(3, Attack, "parse_attack", "FOE()")
    ('FOE()', 'FOE()')
    """
    if isinstance(given, str):
        return f'{parse}("{given}")'
    if isinstance(given, base):
        return repr(given)
    if isinstance(given, type) and issubclass(given, base):
        return making(given)
    return otherwise


def _differ(one: object, other: object) -> bool:
    try:
        return bool(one != other)
    except (ValueError, RuntimeError):  # arrays say it of each number
        return not np.array_equal(one, other)  # type: ignore[arg-type]


def _written(name: str, given: Mapping[str, object]) -> str:
    listed = ", ".join(f"{key}={value}" for key, value in given.items())
    return f"{name}({listed})" if listed else name
