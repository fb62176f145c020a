"""Objects by names that are given to them: data sets and models, a user's own among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeVar

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

    Examples
    --------
    >>> COLOURS = Objects("colour", {"red": 0xFF0000})
    >>> COLOURS["blue"] = 0x0000FF
    >>> COLOURS["bleu"]  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    flwr_resam.registry.UnknownNameError: `bleu` is no colour. Did you mean `blue`? ...
    """

    def __init__(self, kind: str, found: Mapping[str, T], group: str | None = None) -> None:
        self.kind = kind
        self._own = dict(found)
        self._offers = Offers(group)

    def _all(self) -> dict[str, T]:
        self._offers.take(self._own.setdefault)
        return self._own

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
