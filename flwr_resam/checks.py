"""Checks of f and of the numbers that rules are made with, each with one clear error."""

from __future__ import annotations

import math
import operator

from .errors import requirement


def check_whole(parameter: str, value: object, cure: str, *, least: int = 1) -> None:
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``.

    Examples
    --------
    >>> check_whole("steps", 0, "Use 3")
    Traceback (most recent call last):
    ...
    ValueError: `steps` must be a whole number, at least 1. Found steps = 0. Use 3.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 < value < math.inf:  # type: ignore[operator]
        raise requirement(
            parameter, "be a finite number above 0", f"{parameter} = {value!r}", cure
        )


def check_finite(parameter: str, value: float) -> None:
    """Raise a ValueError for a NaN or an infinity.

    Examples
    --------
    >>> check_finite("epsilon", float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: `epsilon` must be finite. Found nan. Use non-finite for NaN and Inf.
    """
    if not math.isfinite(value):
        raise requirement(
            parameter, "be finite", value, "Use non-finite for NaN and Inf"
        )


def checked_f(f: object) -> int:
    """Return f as an int, or raise what is wrong with it."""
    try:
        number = operator.index(f)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(f, bool):
        raise requirement(
            "f", "be a whole number", repr(f), "Give the number of faults to tolerate, such as 3",
            error=TypeError,
        )
    if number < 0:
        raise requirement("f", "be at least 0", f"f = {number}", "Give 0 for a run without faults")
    return number
