"""Which classes there are by name: this library's, and a user's own that are registered later."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from .errors import requirement
from .plugins import Offers

WORDS: Mapping[str, object] = {"true": True, "false": False, "none": None}
"""What is read as a value, and so can't be a name."""

_NAME = re.compile(r"[a-z][a-z0-9*_.-]*")
_SPELT_OUT = {  # what papers, ByzFL, ByzPy, FLPoison and Flower write, in letters and digits alone
    "cwmed": "median coordinatewisemedian comed fedmedian",
    "cwtm": "trimmedmean trmean tm coordinatewisetrimmedmean fedtrimmedavg fedtrimmedmean",
    "gm": "geometricmedian geomed rfa smoothedweiszfeld",
    "gmom": "geometricmedianofmeans medofmeans",
    "multikrum": "fedmultikrum mkrum", "krum": "fedkrum", "bulyan": "fedbulyan",
    "cc": "centeredclipping centredclipping", "mean": "average avg fedavg arithmeticmean",
    "mda": "minimumdiameteraveraging minimumdiameter brute", "meamed": "meanaroundmedian",
    "cge": "comparativegradientelimination", "rge": "robustgradientestimator",
    "nnm": "nearestneighbourmixing nearestneighbormixing", "clipping": "staticclipping",
    "arc": "adaptiverobustclipping", "bucketing": "bucket",
    "foe": "ipm innerproductmanipulation fallofempires empire",
    "alie": "littleisenough alittleisenough little lie lit",
    "foe-opt": "optimalinnerproductmanipulation optimalipm optimisedfoe",
    "alie-opt": "optimallittleisenough optimalalie optimisedalie",
    "sign-flip": "signflipping signflip sf", "label-flip": "labelflipping labelflip lf",
    "fang-cwtm": "fang fangattack fangtrimmedmean", "agr": "agrtailored shejwalkar ndss",
    "dnc": "divideandconquer", "hidden": "hiddenvulnerability",
    "non-finite": "inf nan infinity", "gaussian": "noise gaussiannoise random",
}
_MEANT = {other: name for name, others in _SPELT_OUT.items() for other in others.split()}

T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C", bound=type[Any])


class UnknownNameError(KeyError, ValueError):
    """A name that is not among those that there are."""

    def __str__(self) -> str:
        """The sentence; a KeyError would put it in quotes."""
        return str(self.args[0])


def unknown_name(name: str, names: Iterable[str], kind: str) -> UnknownNameError:
    """Say that a name is not known, which it may have meant, and which there are."""
    names = list(names)
    close = get_close_matches(name, names, n=5, cutoff=0.5)
    letters = [other for other in close if sorted(other) == sorted(name)]
    compact = "".join(letter for letter in name.lower() if letter.isalnum())
    alike = [other for other in names if other.replace("-", "") == compact]
    spelt_out = alike[0] if alike else _MEANT.get(compact)
    likely = [spelt_out] if spelt_out in names else letters or close
    hint = f" Did you mean `{likely[0]}`?" if likely else ""
    one, of, what = (kind[0].upper() + kind[1:]).partition(" of ")
    return UnknownNameError(f"`{name}` is no {kind}.{hint} {one}s{of}{what}: {', '.join(names)}.")


class Names(Mapping[str, type[T_co]]):
    """Classes by name. ``[...]`` raises an error that says which names there are.

    Attributes
    ----------
    kind : str
        What an error calls one of them, such as "attack".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @abstractmethod
    def _known(self) -> Mapping[str, type[T_co]]:
        """What is registered by now."""

    @abstractmethod
    def _load(self) -> None:
        """Register what installed packages offer, the first time."""

    def _classes(self) -> Mapping[str, type[T_co]]:
        self._load()
        return self._known()

    def unknown(self, name: str) -> UnknownNameError:
        """Return (not raise) the error for a name that is not among these."""
        return unknown_name(name, sorted(self), self.kind)

    def __getitem__(self, name: str) -> type[T_co]:
        found = self._known().get(name) or self._classes().get(name)
        if found is None:
            raise self.unknown(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._known() or name in self._classes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes())

    def __len__(self) -> int:
        return len(self._classes())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.kind}: {', '.join(self)}>"


class Registry(Names[T_co]):
    """Classes by the names that they have themselves; a user's own are added by `register`.

    Parameters
    ----------
    kind : str
        What an error calls one of them.
    base : type
        What each is derived from.
    classes : iterable of type
        Those that there are from the start.
    group : str, optional
        Of the entry points by which installed packages add theirs. They are looked for when a
        name is not found otherwise, or all are listed; never at import.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from flwr_resam.rule import CoordinateRule
    >>> RULES = Registry("rule", CoordinateRule, [])
    >>> @RULES.register
    ... @dataclass(frozen=True)
    ... class Midrange(CoordinateRule):
    ...     name = "midrange"
    ...
    ...     def columns(self, block, f):
    ...         return (block.min(axis=0) + block.max(axis=0)) / 2
    >>> RULES["midrange"] is Midrange
    True
    >>> RULES["midrnge"]  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    flwr_resam.registry.UnknownNameError: `midrnge` is no rule. Did you mean `midrange`? ...
    """

    def __init__(
        self, kind: str, base: type[Any], classes: Iterable[type[T_co]], group: str | None = None
    ) -> None:
        super().__init__(kind)
        self._base = base
        self._offers = Offers(group)
        self._own: dict[str, type[T_co]] = {}
        self._views: list[View[Any]] = []
        for each in classes:
            self.register(each)

    def _known(self) -> Mapping[str, type[T_co]]:
        return self._own

    def _load(self) -> None:
        self._offers.take(lambda _, cls: self.register(cls))

    def register(self, cls: C) -> C:
        """Add a class, and return it: a decorator.

        A class that is defined again, as a notebook's cell that is run again does, takes the
        place of the one that it was.

        Raises
        ------
        TypeError
            For what is no class of this kind, or no dataclass.
        ValueError
            For a name that is missing, can't be written in a run-config, or is another's.
        """
        _check_class(cls, self._base)
        name = _checked_name(cls)
        for names in (self, *self._views):
            other = names._known().get(name)
            if other is not None and _origin(other) != _origin(cls):
                raise requirement(
                    cls.__name__, "have a name that no other class has",
                    f"`{name}`, which is {'.'.join(_origin(other))}", "Choose another name",
                )
        self._own[name] = cls
        return cls


class View(Names[T_co]):
    """What several registries hold, or those of it that are ``where``; always as of now."""

    def __init__(
        self, kind: str, *parts: Registry[T_co], where: Callable[[type[Any]], bool] | None = None
    ) -> None:
        super().__init__(kind)
        self._parts = parts
        self._where = where
        names = [name for part in parts for name in part._known()]
        for name in names:
            if names.count(name) > 1:
                raise requirement(
                    kind, "have a name that no other has", f"two of the name `{name}`",
                    "Rename the one that you registered",
                )
        for part in parts:
            part._views.append(self)

    def _known(self) -> Mapping[str, type[T_co]]:
        return {
            name: cls for part in self._parts for name, cls in part._known().items()
            if self._where is None or self._where(cls)
        }

    def _load(self) -> None:
        for part in self._parts:
            part._load()


def _origin(cls: type[Any]) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _check_class(cls: object, base: type[Any]) -> None:
    """Raise a TypeError unless one of ``base`` can be made of this class by name."""
    if not isinstance(cls, type):
        of_one = f"Give the class, {type(cls).__name__}"
        cure = of_one if isinstance(cls, base) else "Write it above a class"
        raise requirement("register", "be given a class", repr(cls), cure, error=TypeError)
    name, parents = cls.__name__, ", ".join(parent.__name__ for parent in cls.__bases__)
    if not issubclass(cls, base):
        raise requirement(
            name, f"be derived from {base.__name__}", f"`class {name}({parents})`",
            f"Derive it from {base.__module__}.{base.__qualname__}, or register it elsewhere",
            error=TypeError,
        )
    undefined = sorted(getattr(cls, "__abstractmethods__", ()))
    if undefined:
        raise requirement(
            name, f"define all that {parents} leaves open", f"no `{'`, `'.join(undefined)}`",
            "Define it", error=TypeError,
        )
    if "__dataclass_fields__" not in vars(cls):
        raise requirement(
            name, "be a dataclass", "a plain class",
            f"Write `@dataclass(frozen=True)` right above `class {name}`, below the line that "
            "registers it", error=TypeError,
        )


def _checked_name(cls: type[Any]) -> str:
    own = 'Write `name: ClassVar[str] = "my-rule"` in the class, say'
    if any(field.name == "name" for field in fields(cls)):
        raise requirement(cls.__name__, "have a name of the class", "`name` as an argument", own)
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        raise requirement(
            cls.__name__, "have a `name`", "none" if name is None else repr(name), own
        )
    if not _NAME.fullmatch(name) or name in WORDS:
        raise requirement(
            cls.__name__,
            "have a name of lower-case letters, digits and * _ . -, a letter first, that is none "
            f"of {', '.join(WORDS)}", repr(name), own,
        )
    return name
