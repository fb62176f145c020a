"""One property after the other, and what to say of the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from ..registry import unknown_name
from ..spelling import Named

T = TypeVar("T", bound=Named)


class PropertyError(AssertionError):
    """A rule or an attack lacks a property; the message names it, and what came instead."""


def check_all(
    what: T, properties: Mapping[str, Callable[..., None]], lacks: Collection[str],
    cases: Iterable[tuple[object, ...]],
) -> None:
    """Call each property with ``what`` and each case, but for those in ``lacks``."""
    for name in lacks:
        if name not in properties:
            raise unknown_name(name, list(properties), "property")
    cases = list(cases)
    for name, check in properties.items():
        if name in lacks:
            continue
        for case in cases:
            try:
                check(what, *case)
            except Exception as error:
                meaning = " ".join((check.__doc__ or "").split("\n")[0].split())
                where = f" with n = {case[0]}, f = {case[1]}" if len(case) == 2 else ""
                raise PropertyError(
                    f"`{what}` lacks the property `{name}`{where}: {meaning} "
                    f"{type(error).__name__}: {str(error).strip()}\n"
                    f"Where that is its nature, say so: lacks=[{name!r}]."
                ) from error
