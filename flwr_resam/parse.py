"""Rules and attacks by name, as run-configs write them: ``nnm | cwtm``, ``foe(epsilon=1.1)``.

The grammar is ``item | item | ...`` with ``item = name`` or ``name(key=value, ...)``, where a
value is a number, true, false, none or a word. Nothing is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from .aggregators import AGGREGATORS
from .attacks import ATTACKS, Attack
from .preaggregators import PREAGGREGATORS
from .rule import Aggregator, Chain, PreAggregator

_ITEM = re.compile(r"\s*(?P<name>[A-Za-z0-9*_.-]+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")
_WORDS: dict[str, object] = {"true": True, "false": False, "none": None}

T = TypeVar("T")


def parse_rule(text: str) -> Aggregator:
    """Read an aggregator, or a chain of pre-aggregators that ends in one.

    Parameters
    ----------
    text : str
        Names of `AGGREGATORS` and `PREAGGREGATORS`, joined by ``|``, left to right.

    Raises
    ------
    ValueError
        For an unknown name (with the closest valid one), an unknown or malformed argument,
        or a chain that does not end in one aggregator.

    Examples
    --------
    >>> print(parse_rule("nnm | cwtm"))
    nnm | cwtm
    >>> parse_rule("nmn | cwtm")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: `nmn` is no rule. Did you mean `nnm`? Rules: ...
    """
    registry: dict[str, type[Aggregator] | type[PreAggregator]] = {**AGGREGATORS, **PREAGGREGATORS}
    stages = [_parse_item(item, registry, "rule") for item in text.split("|")]
    *before, last = stages
    if not isinstance(last, Aggregator):
        raise ValueError(
            f"`{text}` ends with a pre-aggregator, which leaves several rows. "
            f"Add an aggregator at the right, as in `{text} | mda`."
        )
    pre = tuple(stage for stage in before if isinstance(stage, PreAggregator))
    if len(pre) < len(before):
        raise ValueError(
            f"`{text}` has an aggregator before its end, and an aggregator leaves one vector. "
            "Keep one aggregator, at the right."
        )
    return Chain(pre, last) if pre else last


def parse_attack(text: str) -> Attack:
    """Read an attack of the omniscient adversary, such as ``alie(z=1.5)``.

    Raises
    ------
    ValueError
        As `parse_rule` does.

    Examples
    --------
    >>> parse_attack("foe(epsilon=1.1)")
    FOE(epsilon=1.1)
    """
    return _parse_item(text, ATTACKS, "attack")


def unknown_name(name: str, names: list[str], kind: str) -> ValueError:
    """Say that a name is not known, which it may have meant, and which there are."""
    close = get_close_matches(name, names, n=5, cutoff=0.5)
    letters = [other for other in close if sorted(other) == sorted(name)]
    hint = f" Did you mean `{(letters or close)[0]}`?" if close else ""
    return ValueError(f"`{name}` is no {kind}.{hint} {kind.capitalize()}s: {', '.join(names)}.")


def _parse_item(text: str, registry: dict[str, type[T]], kind: str) -> T:
    match = _ITEM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"`{text.strip()}` can't be read as a {kind}. "
            f"Write `name` or `name(key=value, ...)`, such as `{next(iter(registry))}`."
        )
    name = match["name"].lower()
    if name not in registry:
        raise unknown_name(name, sorted(registry), kind)
    return _build(registry[name], name, match["arguments"] or "")


def _build(cls: type[T], name: str, text: str) -> T:
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ValueError(f"`{part}` in `{name}(...)` must have the form key=value.")
        if key not in known:
            takes = ", ".join(known) or "no arguments"
            raise ValueError(f"`{name}` has no argument `{key}`. It takes {takes}.")
        if key in arguments:
            raise ValueError(f"`{name}` is given `{key}` twice.")
        arguments[key] = _value(value)
    missing = [
        key for key, field in known.items()
        if key not in arguments and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"`{name}` needs `{missing[0]}`: write `{name}({missing[0]}=...)`.")
    return cls(**arguments)


def _value(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")
