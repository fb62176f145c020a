"""A user's own code, found: modules that a run-config names, and entry points of packages.

Importing it is what counts: a module registers its rules, attacks, data sets and models by itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

from .errors import requirement

GROUPS = tuple(
    f"flwr_resam.{what}"
    for what in ("rules", "preaggregators", "attacks", "partitions", "datasets", "models")
)
"""Of entry points; each is a registry's."""


def load(text: str, sources: Mapping[str, str] | None = None) -> None:
    """Import what ``plugins`` of a run-config names, each module once a process.

    Parameters
    ----------
    text : str
        Modules (``my_package.rules``) and files (``/home/me/my_rules.py``), with commas between
        them; "" is none.
    sources : mapping of str, optional
        The text of files by path, as `sources` gives it, for a machine that lacks them.

    Raises
    ------
    ValueError
        Where one can't be found, or its own code ends in an error; the error is its cause.
    """
    for name in _split(text):
        if not _is_file(name):
            _guarded(name, partial(importlib.import_module, name))
        elif not _is_loaded(path := Path(name).expanduser().absolute()):
            _guarded(name, partial(_run, path, (sources or {}).get(name)))


def located(text: str) -> str:
    """The same plugins as any process of this machine finds them, in whatever folder it runs.

    A file gets its whole path, and so does a module that is one file and not installed.
    """
    found = []
    for name in _split(text):
        origin = name if _is_file(name) else _loose_file(name)
        found.append(str(Path(origin).expanduser().resolve()) if origin else name)
    return ", ".join(found)


def sources(text: str) -> dict[str, str]:
    """The files among these plugins, by path, for `load` on a machine that lacks them."""
    return {name: Path(name).read_text(encoding="utf-8") for name in _split(text) if _is_file(name)}


class Offers:
    """The entry points of a group, taken once; a name that can't be registered is passed over."""

    def __init__(self, group: str | None) -> None:
        self._group = group
        self._taken = group is None
        self._lock = RLock()  # what is loaded may look names up itself

    def take(self, register: Callable[[str, Any], object]) -> None:
        """Register each by the entry's name, the first time that this is called."""
        with self._lock:
            if self._taken or self._group is None:
                return
            self._taken = True
            for name, found in _entries(self._group):
                try:
                    register(name, found)
                except (TypeError, ValueError) as error:
                    _warn(self._group, name, error)


def groups() -> list[str]:
    """The entry points that installed packages offer, of all groups, without loading them."""
    from importlib.metadata import entry_points

    return [f"{group}: {each.name}" for group in GROUPS for each in entry_points(group=group)]


def _entries(group: str) -> Iterator[tuple[str, object]]:
    """What installed packages offer under a group of entry points, by the entry's name.

    One that can't be loaded is a RuntimeWarning: another package's fault ends nobody's run.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        try:
            found = entry.load()
        except (Exception, SystemExit) as error:  # whatever a stranger's module does
            _warn(group, entry.name, error)
        else:
            yield entry.name, found


def _warn(group: str, name: str, error: BaseException) -> None:
    """Say that an entry point is passed over."""
    warnings.warn(
        f"The entry point `{name}` of the group {group} is passed over: "
        f"{type(error).__name__}: {error}", RuntimeWarning, stacklevel=2,
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def _is_loaded(path: Path) -> bool:
    return any(getattr(module, "__file__", None) == str(path) for module in [*sys.modules.values()])


def _loose_file(name: str) -> str | None:
    """The file of a module that is found from here alone, since it is in no package's folder."""
    if "." in name:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not _is_file(spec.origin):
        return None
    path = Path(spec.origin).resolve()
    keys = ("stdlib", "purelib", "platlib")
    installed = {Path(sysconfig.get_path(key)).resolve() for key in keys}
    loose = path.name != "__init__.py" and not installed & set(path.parents)
    return str(path) if loose else None


def _run(path: Path, text: str | None) -> None:
    """Make a module of a file, under the file's name where that is free."""
    name = path.stem
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module can be made of {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        if text is None or path.exists():
            spec.loader.exec_module(module)
        else:
            exec(compile(text, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise


def _guarded(name: str, run: Callable[[], object]) -> None:
    try:
        run()
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _broken(name, error) from error
        raise requirement(
            "plugins", "name modules that this process finds", f"no module `{name}`",
            "Install its package on every machine, or name its file by its whole path",
        ) from None
    except FileNotFoundError as error:
        if Path(str(error.filename)).name != Path(name).name:
            raise _broken(name, error) from error
        raise requirement(
            "plugins", "name files that this process finds", f"no file {name}",
            "Put it there on every machine, or install it as a package",
        ) from None
    except (Exception, SystemExit) as error:  # a script's last line is no end of the run
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> Exception:
    return requirement(
        "plugins", "name modules that can be imported",
        f"{type(error).__name__} in `{name}`: {str(error).removesuffix('.')}",
        "Mend that module",
    )
