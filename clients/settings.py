"""What a node reads from the run-config: each key once, with its type, default and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self, TypeVar, cast

V = TypeVar("V", str, int, float, bool)

_WRITTEN: Mapping[type, str] = {
    str: "Write it in quotes",
    int: "Write a whole number",
    float: "Write a number",
    bool: "Write true or false",
}


def setting(default: V, *, above: float | None = None, least: float | None = None) -> V:
    """A run-config key: its default, of the key's type, and where its range begins."""
    made: object = field(default=default, metadata={"above": above, "least": least})
    return cast(V, made)


@dataclass(frozen=True)
class ClientSettings:
    """The run-config keys that concern a node; pyproject.toml says what each means."""

    dataset: str = setting("digits")
    data_dir: str = setting("")
    model: str = setting("")
    validation_share: float = setting(0.0, least=0)
    partition: str = setting("homogeneous")
    seed: int = setting(0, least=0)
    num_nodes: int = setting(15, above=0)
    num_malicious_nodes: int = setting(5)
    attack: str = setting("foe(epsilon=2.2)")
    beta: float = setting(0.9)
    batch_size: int = setting(16, above=0)
    local_steps: int = setting(1, above=0)
    local_learning_rate: float = setting(0.1, above=0.0)
    l2: float = setting(0.0, least=0)
    norm_penalty: float = setting(0.0, least=0)
    clip_norm: float = setting(0.0, least=0)
    device: str = setting("")

    @classmethod
    def by_key(cls) -> dict[str, Field[Any]]:
        """The fields by run-config key."""
        return {each.name.replace("_", "-"): each for each in fields(cls)}

    @classmethod
    def read(cls, run_config: Mapping[str, Any]) -> Self:
        """Read these settings from a run-config, which may hold others.

        Raises
        ------
        ValueError
            For a value that is not of its key's type.
        """
        return cls(**{
            each.name: _of_type(key, run_config[key], type(each.default))
            for key, each in cls.by_key().items()
        })


def _of_type(key: str, value: object, kind: type) -> Any:
    """The value, a whole number as a float where one is asked for."""
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind:
        return value
    from flwr_resam.errors import requirement  # a second of imports, which no node needs

    unquoted = " without quotes" if isinstance(value, str) else ""
    raise requirement(
        key, f"be of type {kind.__name__}", f"{value!r}", _WRITTEN[kind] + unquoted
    )
