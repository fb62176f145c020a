"""Rules and attacks by name, as run-configs write them: ``nnm | cwtm``, ``foe(epsilon=1.1)``.

The grammar is ``item | item | ...`` with ``item = name`` or ``name(key=value, ...)``, where a
value is a number, true, false, none or a word. Nothing is evaluated.

Several attacks at once, each on so many nodes and on a schedule, are plans:
``2 alie + 3 sign-flip when(start=10, every=2)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass
from types import UnionType
from typing import (
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .aggregators import AGGREGATORS, MDA
from .attacks import ATTACKS, Attack
from .attacks.schedule import ALWAYS, SCHEDULES, Schedule
from .errors import requirement
from .preaggregators import PREAGGREGATORS
from .registry import WORDS, Names, View
from .rule import Aggregator, Chain, PreAggregator
from .spelling import Named, arguments, default, required, usage

_ITEM = re.compile(r"\s*(?P<name>[A-Za-z0-9*_.-]+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")
_PLAN = re.compile(
    r"\s*(?:(?P<count>\d+)\s+)?(?P<item>[^\s()]+\s*(?:\([^()]*\))?)\s*(?P<when>when\b.*)?", re.S
)
_PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}
_PLUS = re.compile(r"\+(?![^()]*\))")  # not the one in epsilon=1e+3

RULES: View[Aggregator | PreAggregator] = View("rule", AGGREGATORS, PREAGGREGATORS)
"""What a chain is made of."""

T = TypeVar("T")
N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Plan(Generic[T]):
    """What some of the Byzantine nodes do, how many of them, and when.

    Attributes
    ----------
    what : attack or the like
        Of the registry that the text was read with.
    count : int or None
        How many nodes; None for those that no other plan takes.
    schedule : Schedule
        In which rounds.
    """

    what: T
    count: int | None = None
    schedule: Schedule = ALWAYS


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
    flwr_resam.registry.UnknownNameError: `nmn` is no rule. Did you mean `nnm`? Rules: ...
    """
    stages = [parse_item(item, RULES) for item in text.split("|")]
    *before, last = stages
    pre = tuple(stage for stage in before if isinstance(stage, PreAggregator))
    if not isinstance(last, Aggregator):
        # One that remembers nodes may not stand behind all that is named.
        named = [s for s in before if isinstance(s, Aggregator) and not s.follows_nodes]
        mended = " | ".join(str(stage) for stage in (*pre, last, named[-1] if named else MDA()))
        raise ValueError(
            f"`{text}` ends with a pre-aggregator, which leaves several rows. "
            f"Put an aggregator at the right, as in `{mended}`."
        )
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
    return parse_item(text, ATTACKS)


def parse_plans(text: str, registry: Names[N]) -> tuple[Plan[N], ...]:
    """Read attacks, each with a number of nodes and a schedule where these are given.

    Raises
    ------
    ValueError
        As `parse_rule` does, and for a plan that can't be read.

    Examples
    --------
    >>> for plan in parse_plans("2 alie(z=1.5) + foe when(start=10, every=2)", ATTACKS):
    ...     print(plan.count, plan.what, plan.schedule)
    2 alie(z=1.5) when
    None foe when(start=10, every=2)
    """
    plans = []
    for part in _PLUS.split(text):
        match = _PLAN.fullmatch(part)
        if match is None:
            raise ValueError(
                f"`{part.strip()}` can't be read as an attack. Write `name`, `name(key=value)`, "
                "or with nodes and rounds `3 name when(start=10, every=2, probability=0.5)`."
            )
        what = parse_item(match["item"], registry)
        schedule = parse_item(match["when"], SCHEDULES) if match["when"] else ALWAYS
        plans.append(Plan(what, int(match["count"]) if match["count"] else None, schedule))
    return tuple(plans)


def shares(plans: Sequence[Plan[Any]], total: int) -> list[int]:
    """How many of the Byzantine nodes each plan has, ``total`` together.

    Raises
    ------
    ValueError
        If the numbers given don't add up to that.

    Examples
    --------
    >>> shares(parse_plans("2 alie + foe", ATTACKS), 5)
    [2, 3]
    """
    rest = total - sum(plan.count or 0 for plan in plans)
    if sum(plan.count is None for plan in plans) > 1:
        raise requirement(
            "attack", "say of each attack but one on how many nodes it is", "several without",
            "Write `2 alie + foe`, say",
        )
    counts = [rest if plan.count is None else plan.count for plan in plans]
    if sum(counts) != total or min(counts) < 1:
        raise requirement(
            "attack", f"be on num-malicious-nodes = {total} nodes, at least one for each attack",
            f"{' + '.join(str(count) for count in counts)}",
            "Change the numbers, or leave one out for the nodes that remain",
        )
    return counts


def parse_item(text: str, registry: Names[N]) -> N:
    """Read one ``name`` or ``name(key=value, ...)`` of a registry.

    Raises
    ------
    ValueError
        As `parse_rule` does.
    """
    match = _ITEM.fullmatch(text)
    if match is None:
        article = "an" if registry.kind[0] in "aeiou" else "a"
        several = [part.strip() for part in re.split(r"(?:->|[,;+>])(?![^()]*\))", text)]
        chain = " | ".join(several) if len(several) > 1 and all(several) else ""
        cure = f"`{chain}`, with a bar between rules" if chain and registry is RULES else (
            f"`name` or `name(key=value, ...)`, such as `{next(iter(registry))}`"
        )
        raise ValueError(
            f"`{text.strip()}` can't be read as {article} {registry.kind}. Write {cure}."
        )
    return _build(registry[match["name"].lower()], match["arguments"] or "")


def _build(cls: type[N], text: str) -> N:
    name = cls.name
    known = {field.name: field for field in arguments(cls)}
    hints = _hints(cls) if text else {}
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ValueError(f"`{part}` in `{name}(...)` must have the form key=value.")
        if key not in known:
            takes = ", ".join(known) or "no arguments"
            raise ValueError(f"`{name}` has no argument `{key}`. It takes {takes}.")
        if key in given:
            raise ValueError(f"`{name}` is given `{key}` twice.")
        hint = hints.get(key, known[key].type)
        read = value.strip("'\"") if _is_text(hint) else _value(value)  # there 1e30 is a word
        given[key] = _fitting(read, known[key], hint, name)
    missing = [key for key in required(cls) if key not in given]
    if missing:
        raise ValueError(f"`{name}` needs `{missing[0]}`: write `{usage(cls)}`.")
    return cls(**given)


def _fitting(value: object, field: Field[Any], hint: Any, name: str) -> object:
    """Return the value, or raise where its type is not one that the argument has."""
    if _fits(value, hint):
        return value
    example = 1 if default(field) is MISSING else default(field)
    if get_origin(hint) is Literal and default(field) is MISSING:
        example = get_args(hint)[0]
    raise requirement(
        field.name, f"be of type {_type_of(field)} in `{name}(...)`", repr(value),
        f"Write `{name}({field.name}={example})`, say",
    )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type that text can give; of another type anything may be."""
    if isinstance(hint, str):  # which names what only a checker of types knows
        return any(_fits(value, _PLAIN.get(part, object)) for part in hint.split(" | "))
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(hint))
    if hint not in _PLAIN.values():
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a class's annotations; none where one names what is not there at run time."""
    try:
        return get_type_hints(cls)
    except Exception:  # a type may be written as any text
        return {}


def _is_text(hint: Any) -> bool:
    words = get_args(hint) if get_origin(hint) is Literal else ()
    return hint in (str, "str") or (bool(words) and all(isinstance(word, str) for word in words))


def _type_of(field: Field[Any]) -> str:
    """As it is written: text where the class's module postpones its annotations, else a type."""
    return field.type.__name__ if isinstance(field.type, type) else str(field.type)


def _value(text: str) -> object:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")
