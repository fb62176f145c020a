"""What a node reads from the run-config: each key once, with its type, default and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

if TYPE_CHECKING:
    from flwr.app import Context

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
    plugins: str = setting("")

    @classmethod
    @cache
    def by_key(cls) -> Mapping[str, Field[Any]]:
        """The fields by run-config key."""
        return {each.name.replace("_", "-"): each for each in fields(cls)}

    @classmethod
    def read(cls, run_config: Mapping[str, Any]) -> Self:
        """Read these settings from a run-config, which may hold others, and load its plugins.

        Raises
        ------
        ValueError
            For a value that is not of its key's type, or a plugin that can't be imported.
        """
        found = cls(**{
            each.name: _of_type(key, run_config[key], type(each.default))
            for key, each in cls.by_key().items()
        })
        if found.plugins:
            from flwr_resam.plugins import load

            load(found.plugins)
        return found

    @classmethod
    def of_node(cls, context: Context) -> Self:
        """Read a node's settings: the run's, and where the node holds data of its own, that.

        A device that was started with ``--node-config 'data-path="/home/me/mine.npz"'`` trains
        on all that this file holds; the run-config must name the model, so that all have one.
        """
        found = cls.read(context.run_config)
        own = str(context.node_config.get("data-path", ""))
        if not own:
            return found
        if not found.model:
            from flwr_resam.errors import requirement

            raise requirement(
                "model", "be named in the run-config where a node holds data of its own", '""',
                "Write model='mlp(inputs=13, classes=3)', say",
            )
        return replace(found, dataset=own, partition="homogeneous")


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
