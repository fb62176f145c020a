"""What every attack does: properties that hold for any honest rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from ..aggregators import TrimmedMean
from ..attacks import Attack
from ..errors import LARGEST, requirement
from ..parse import parse_attack
from ..rule import Round
from ..spelling import name_of
from ._report import check_all

HONEST = np.random.default_rng(3).normal(1.0, 0.5, (7, 5))


def ready(attack: Attack) -> Attack:
    """The attack, with a defender where it needs one."""
    return attack.against(TrimmedMean(), 3)


def check_form(attack: Attack) -> None:
    """As many rows as asked for, the same each time; the honest ones stay as they were."""
    for dtype in (np.float32, np.float64):
        honest: Any = HONEST.astype(dtype)
        kept = honest.copy()
        rows = ready(attack)(honest, 3, at=Round(2))
        assert rows.shape == (3, 5), f"shape {rows.shape} for 3 rows of 5 numbers"
        assert rows.dtype == dtype, f"{rows.dtype} of {np.dtype(dtype)}"
        assert_array_equal(honest, kept)
        assert_array_equal(rows, ready(attack)(honest, 3, at=Round(2)))
        assert ready(attack)(honest, 0).shape == (0, 5), "rows where none were asked for"
        assert ready(attack)(honest[:, :0], 2).shape == (2, 0), "numbers in rows that have none"


def check_finite(attack: Attack) -> None:
    """Rows are finite for any finite honest ones, unless the class says ``finite = False``."""
    if not attack.finite:
        return
    wide = np.array([[3e38, -3e38], [-3e38, 1.0], [3e38, 3e38], [1e-38, 0.0]], np.float32)
    far = np.array([[LARGEST, 0.0], [-LARGEST, 1.0], [LARGEST, LARGEST], [0.0, 1e-300]])
    for honest in (wide, far, np.ones((7, 5)), np.zeros((4, 2))):
        against = attack.against(TrimmedMean(), 1)
        rows = against(honest, 1, at=Round(2))
        assert np.isfinite(rows).all(), f"{rows} of {honest.tolist()}"


def check_scale(attack: Attack) -> None:
    """Honest rows of another size give rows of that size."""
    honest = np.array([[1.0, 2.0], [1.5, 1.0], [0.5, 1.7], [1.2, 1.3]])
    against = attack.against(TrimmedMean(), 1)
    expected = against(honest, 1, at=Round(2))
    for size in (2.0**-400, 2.0**400, 5e139):
        assert_allclose(against(honest * size, 1, at=Round(2)) / size, expected, rtol=1e-9)


def check_alone(attack: Attack) -> None:
    """What says that a device does it alone, works on that device's own row."""
    known = ("alone", "knows the rule", "omniscient")
    assert attack.knowledge in known, f"knowledge = {attack.knowledge!r}, which is none of {known}"
    if attack.knowledge == "alone":
        shape = attack(HONEST[:1], 1).shape
        assert shape == (1, 5), f"shape {shape} of one row"


def check_columns(attack: Attack) -> None:
    """What says that it is columnwise, gives each coordinate of that coordinate alone."""
    if not attack.columnwise:
        return
    whole = ready(attack)(HONEST, 3)
    parts = [ready(attack)(HONEST[:, i : i + 2], 3) for i in (0, 2, 4)]
    assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12)


def check_rounds(attack: Attack) -> None:
    """It goes on from round to round, and each round's rows have their form."""
    against = ready(attack)
    state = against.start()
    for number in (1, 2, 3):
        rows, state = against.step(HONEST * number, 2, state=state, at=Round(number))
        assert rows.shape == (2, 5), f"shape {rows.shape} in round {number}"


def check_name(attack: Attack) -> None:
    """Where its name is registered, what is written of it reads back as itself."""
    from ..attacks import ATTACKS

    if ATTACKS.get(name_of(type(attack))) is type(attack):
        found = parse_attack(str(attack))
        assert found == attack, f"{found!r} of {str(attack)!r}"


ATTACK_PROPERTIES: Mapping[str, Callable[[Attack], None]] = {
    "form": check_form,
    "finite": check_finite,
    "scale": check_scale,
    "alone": check_alone,
    "columns": check_columns,
    "rounds": check_rounds,
    "name": check_name,
}


def check_attack(attack: Attack, *, lacks: Collection[str] = ()) -> None:
    """Check that an attack has the properties that this library's own attacks have.

    Parameters
    ----------
    attack : Attack
        Needs no registration; works with four honest rows.
    lacks : collection of str
        Properties that it lacks by its nature, keys of `ATTACK_PROPERTIES`: one whose rows have
        a size of their own lacks ``scale``.

    Raises
    ------
    PropertyError
        For the first property that it lacks otherwise; an AssertionError.
    TypeError
        For what is no attack, such as the class of one.

    Examples
    --------
    >>> from flwr_resam.attacks import FOE, Huge
    >>> check_attack(FOE())
    >>> check_attack(Huge(), lacks=["scale"])
    """
    if not isinstance(attack, Attack):
        raise requirement(
            "attack", "be an Attack", repr(attack), "Give one made with its arguments, such as "
            "FOE()", error=TypeError,
        )
    check_all(attack, ATTACK_PROPERTIES, lacks, [()])
