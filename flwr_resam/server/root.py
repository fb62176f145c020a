"""The row of the server's own, for rules that compare the nodes' rows with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import ArrayRecord
from numpy.typing import NDArray

from ..errors import IN_RANGE, out_of_range, requirement
from ..rule import Aggregator
from ..wire.layout import Layout

Root = Callable[[int, ArrayRecord], ArrayRecord]
"""Of the round and the model: the update that the server computed itself."""


def check_root(root: object, aggregator: Aggregator) -> None:
    """Raise unless there is a row of the server's own just where the rule needs one."""
    if root is not None and not callable(root):
        raise requirement(
            "root", "be a function of the round and the model", repr(root),
            "Give one that returns the update of the server's own data", error=TypeError,
        )
    if aggregator.needs_root and root is None:
        raise requirement(
            "root", f"be given for `{aggregator}`, which compares rows with the server's own",
            "none", "Write Resam(root=...), or trust a node: fltrust(trusted=0)",
        )
    if root is not None and not aggregator.needs_root:
        raise requirement(
            "root", f"be left out for `{aggregator}`, which takes no row of the server's own",
            repr(root), "Use fltrust",
        )


def root_row(record: object, layout: Layout) -> NDArray[Any]:
    """The parameters of the update that the server computed itself, as one row."""
    if not isinstance(record, ArrayRecord):
        raise requirement(
            "root", "return an ArrayRecord", repr(record), "Return the update by parameter name",
            error=TypeError,
        )
    if not layout.is_of(record):
        raise requirement(
            "root", "return an update of the model, in its names, shapes and dtypes",
            f"{[(name, tuple(array.shape), array.dtype) for name, array in record.items()][:3]}",
            "Return {name: weights before - weights after} of the arrays that it is given",
        )
    row = layout.flat(record)[: layout.learnt]
    if (wrong := out_of_range(row)) is not None:
        raise requirement("root", IN_RANGE, wrong, "Lower the rate of the server's own training")
    return row
