"""Label flip: honest work on dishonest labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clients.byzantine.poisoning import Poisoning
from clients.poison import FlippedLabels
from flwr_resam.errors import check_finite, check_whole, requirement


@dataclass(frozen=True)
class LabelFlip(Poisoning):
    """Computes honestly, momentum included, on labels L - 1 - y; or on one class as another.

    Tolpegin, Truex, Gursoy, Liu, "Data Poisoning Attacks Against Federated Learning Systems", 2020,
    for the targeted flip.

    Attributes
    ----------
    source, target : int or None
        The class whose examples get the label of another, and that one; both or neither. The
        success of the attack is the share of the source's test examples taken for the target.
    boost : float
        What is sent is this many times as long.
    """

    source: int | None = None
    target: int | None = None
    boost: float = 1.0
    name: ClassVar[str] = "label-flip"

    def __post_init__(self) -> None:
        """Refuse half of a pair, and a pair of one."""
        for parameter, value in (("source", self.source), ("target", self.target)):
            if value is not None:
                check_whole(parameter, value, "Classes are numbered from 0", least=0)
        if (self.source is None) != (self.target is None) or (
            self.source is not None and self.source == self.target
        ):
            raise requirement(
                "source", "be given with another class as `target`, or neither",
                f"source = {self.source}, target = {self.target}",
                "Write label-flip(source=1, target=7), say",
            )
        check_finite("boost", self.boost)

    @property
    def poison(self) -> FlippedLabels:
        """Other labels."""
        return FlippedLabels(self.source, self.target)

    @property
    def factor(self) -> float:
        """The boost."""
        return self.boost
