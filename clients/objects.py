"""Objects by names that are given to them: data sets and models, a user's own among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeVar

from flwr_resam.errors import requirement
from flwr_resam.plugins import Offers
from flwr_resam.registry import unknown_name

T = TypeVar("T")


class Objects(MutableMapping[str, T]):
    """Objects by names that are given to them; ``OBJECTS["mine"] = ...`` adds a user's own.

    Parameters
    ----------
    kind : str
        What an error calls one of them.
    found : mapping
        Those that there are from the start.
    group : str, optional
        Of the entry points by which installed packages add theirs, under the entry's name.
    has : tuple of str
        What each of them has; an entry point that has it not is passed over, with a warning, and
        so is one of the name of a built-in.

    Examples
    --------
    >>> COLOURS = Objects("colour", {"red": 0xFF0000})
    >>> COLOURS["blue"] = 0x0000FF
    >>> COLOURS["bleu"]  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    flwr_resam.registry.UnknownNameError: `bleu` is no colour. Did you mean `blue`? ...
    """

    def __init__(
        self, kind: str, found: Mapping[str, T], group: str | None = None,
        has: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self._own = dict(found)
        self._built_in = frozenset(found)
        self._has = has
        self._offers = Offers(group)

    def _all(self) -> dict[str, T]:
        self._offers.take(self._take)
        return self._own

    def _take(self, name: str, value: T) -> None:
        lacking = [each for each in self._has if not hasattr(value, each)]
        if lacking or isinstance(value, type):
            raise requirement(
                name, f"be a {self.kind}",
                repr(value) + f", which has no `{'`, no `'.join(lacking)}`" * bool(lacking),
                "Name the object, not its class", error=TypeError,
            )
        if name in self._built_in:
            raise requirement(
                name, f"be the name of no other {self.kind}", "that of a built-in",
                "Choose another name",
            )
        self._own.setdefault(name, value)

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise unknown_name(name, list(self), self.kind)
        return self._own[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
