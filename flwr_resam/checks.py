"""Checks of the numbers that rules are made with, each with one clear error."""

from __future__ import annotations

import math

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
