"""One form for every error that a user reads: parameter, requirement, value found, cure."""

from __future__ import annotations

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
