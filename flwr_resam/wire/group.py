"""What travels in the group id of a message, since apps look through all of its content."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(
    r"resam-(?=[0-9a-f]{32}|\.)(?P<secret>[0-9a-f]{32})?"
    r"(?:\.(?P<training>[^.]+)\.(?P<server_round>[1-9][0-9]{0,17}))?(?:-(?P<own>.*))?", re.DOTALL
)


@dataclass(frozen=True)
class Group:
    """A group id, taken apart.

    Attributes
    ----------
    own : str
        What the app gave.
    secret : str
        Makes the message's id unguessable; empty before it is sealed.
    training : str or None
        The training that it is of, where momentum is wanted.
    server_round : int
        The round of that; 0 where there is none.

    Examples
    --------
    >>> Group.of("mine")
    Group(own='mine', secret='', training=None, server_round=0)
    >>> str(Group("mine", "0" * 32, "a", 3))
    'resam-00000000000000000000000000000000.a.3-mine'
    >>> Group.of(str(Group("", "", "a", 3))).server_round
    3
    """

    own: str = ""
    secret: str = ""
    training: str | None = None
    server_round: int = 0

    @classmethod
    def of(cls, text: str) -> Group:
        """Take a group id apart; any text is one."""
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(text)
        return cls(
            found["own"] or "", found["secret"] or "", found["training"],
            int(found["server_round"] or 0),
        )

    def __str__(self) -> str:
        """The group id."""
        if not self.secret and self.training is None:
            return self.own
        stamped = "" if self.training is None else f".{self.training}.{self.server_round}"
        return f"resam-{self.secret}{stamped}{self.own and '-'}{self.own}"
