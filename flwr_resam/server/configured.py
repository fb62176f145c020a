"""Each setting of a strategy as an attribute of it, read and changed as FedAvg's are."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from logging import WARNING
from typing import Any

from flwr.serverapp.strategy import FedAvg

from ..errors import requirement
from ..wire.flower import logger
from .settings import DERIVED, Settings

_PACKAGE = __name__.partition(".")[0]
_NAMES = frozenset(each.name for each in fields(Settings) if each.init)
_FEDAVG = frozenset(inspect.signature(FedAvg).parameters)
_LEGACY = ("initialize_parameters", "configure_fit", "aggregate_fit", "evaluate")


class Configured:
    """What has `Settings`, and each of them as an attribute."""

    settings: Settings

    def __repr__(self) -> str:
        """As it is made: f, the rule, and what another one of these has not by itself."""
        f, rule = self.settings.num_malicious_nodes, self.settings.aggregator
        usual = vars(Settings(f, rule))
        own = {name: each for name, each in vars(self.settings).items() if name in _NAMES}
        changed = {name: each for name, each in own.items() if each != usual[name]}
        more = "".join(f", {name}={value!r}" for name, value in changed.items())
        return f"{type(self).__name__}({f}, parse_rule({str(rule)!r}){more})"

    def __getattr__(self, name: str) -> Any:
        """A setting by its name."""
        if name in _NAMES:
            return getattr(self.settings, name)
        hint = ""
        if name in _LEGACY:
            hint = ". It is of Flower's Message API: call `start` within @app.main() of a ServerApp"
        raise AttributeError(f"`{type(self).__name__}` has no attribute `{name}`{hint}")

    def __setattr__(self, name: str, value: object) -> None:
        """Change a setting, checked as at construction, or any other attribute."""
        if name == "settings" and not isinstance(value, Settings):
            raise requirement(
                "settings", "hold what Resam was made with", f"a {type(value).__name__}",
                "Give this attribute of yours another name", error=TypeError,
            )
        if name in _NAMES:
            settings = vars(self).get("settings")
            if settings is None:
                raise AttributeError(
                    f"`{name}` is a setting of Resam, which is not there before super().__init__() "
                    f"was called. Write super().__init__({name}=...), or give an attribute of "
                    "yours another name."
                )
            if name in DERIVED and "_resam_run" not in vars(self):
                return  # while FedAvg's constructor hands on what was derived
            if name not in _FEDAVG and type(self).__module__.partition(".")[0] != _PACKAGE:
                logger.log(
                    WARNING, "`%s.%s` is a setting of Resam, %r from now on. Give an attribute of "
                    "yours another name", type(self).__name__, name, value,
                )
            changed: dict[str, Any] = {**settings.given, name: value}
            name, value = "settings", replace(settings, **changed)
        super().__setattr__(name, value)
