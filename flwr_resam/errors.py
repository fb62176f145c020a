"""One form for every error that a user reads: parameter, requirement, value found, cure."""

from __future__ import annotations

import math
import operator

import numpy as np

NOT_FINITE = "a NaN or an infinity"


def requirement(
    parameter: str, must: str, found: object, cure: str, *, error: type[Exception] = ValueError
) -> Exception:
    """Return (not raise) an error whose message names all four parts.

    Examples
    --------
    >>> print(requirement("f", "be at least 0", -1, "Give the number of faults to tolerate"))
    `f` must be at least 0. Found -1. Give the number of faults to tolerate.
    """
    return error(f"`{parameter}` must {must}. Found {found}. {cure}.")


def whole(value: object) -> int | None:
    """A whole number, Python's or NumPy's, as an int; None for what is none, such as a bool.

    Examples
    --------
    >>> whole(3), whole(3.0), whole(True)
    (3, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def real(value: object) -> float:
    """A number as a float; NaN, which is in no range, for what is none, such as text or a bool.

    What holds one number, as an array of no dimensions does, is that number.

    Examples
    --------
    >>> real(3), real("3"), real(None), real(True)
    (3.0, nan, nan, nan)
    """
    # float() takes bools and reads text.
    if isinstance(value, bool | np.bool_ | str | bytes | bytearray):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_whole(parameter: str, value: object, cure: str, *, least: int = 1) -> None:
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``.

    Examples
    --------
    >>> check_whole("steps", 0, "Use 3")
    Traceback (most recent call last):
    ...
    ValueError: `steps` must be a whole number, at least 1. Found steps = 0. Use 3.
    """
    number = whole(value)
    if number is None or number < least:
        raise requirement(
            parameter, f"be a whole number, at least {least}", f"{parameter} = {value!r}", cure
        )


def check_positive(parameter: str, value: object, cure: str) -> None:
    """Raise a ValueError unless ``value`` is a finite number above 0.

    Examples
    --------
    >>> check_positive("radius", -1.0, "Use 1.0")
    Traceback (most recent call last):
    ...
    ValueError: `radius` must be a finite number above 0. Found radius = -1.0. Use 1.0.
    """
    if not 0.0 < real(value) < math.inf:
        raise requirement(
            parameter, "be a finite number above 0", f"{parameter} = {value!r}", cure
        )


def check_finite(parameter: str, value: object) -> None:
    """Raise a ValueError for a NaN or an infinity.

    Examples
    --------
    >>> check_finite("epsilon", float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: `epsilon` must be finite. Found nan. Use non-finite for NaN and Inf.
    """
    if not math.isfinite(real(value)):
        number = not math.isnan(real(value)) or isinstance(value, float | np.floating)
        cure = "Use non-finite for NaN and Inf" if number else "Give a number"
        raise requirement(parameter, "be finite", repr(value) if not number else value, cure)


def checked_f(f: object) -> int:
    """Return f as an int, or raise what is wrong with it."""
    number = whole(f)
    if number is None:
        raise requirement(
            "f", "be a whole number", repr(f), "Give the number of faults to tolerate, such as 3",
            error=TypeError,
        )
    if number < 0:
        raise requirement("f", "be at least 0", f"f = {number}", "Give 0 for a run without faults")
    return number
