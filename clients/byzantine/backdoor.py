"""Backdoor: a mark on examples that the model is to take for one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clients.byzantine.poisoning import Poisoning
from clients.poison import Trigger
from flwr_resam.errors import check_finite, check_whole, requirement


@dataclass(frozen=True)
class Backdoor(Poisoning):
    """Computes honestly, momentum included, on batches a share of which bears a mark and one label.

    The model is to take whatever bears the mark for the target, and else to be as good as any, so
    that accuracy does not show it. The success of the attack is the share of marked test examples
    of other classes that are taken for the target.

    With ``boost`` of about n / f, a mean of all rows moves as far as the Byzantine nodes want:
    model replacement. Without, their rows lie near the honest ones.

    Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model
    Supply Chain", 2017, for the mark; Bagdasaryan et al., "How To Backdoor Federated Learning",
    2020, for the boost, there of models, here of the row that is sent.

    Attributes
    ----------
    target : int
        The class.
    share : float
        Of each batch.
    size : int
        Of the mark's side, in pixels: see `clients.poison.Trigger`.
    boost : float
        What is sent is this many times as long.
    """

    target: int = 0
    share: float = 0.5
    size: int = 3
    boost: float = 1.0
    name: ClassVar[str] = "backdoor"

    def __post_init__(self) -> None:
        """Refuse what makes no backdoor."""
        check_whole("target", self.target, "Classes are numbered from 0", least=0)
        check_whole("size", self.size, "Use 3")
        if not 0.0 < self.share <= 1.0:
            raise requirement("share", "be above 0 and at most 1", self.share, "Use 0.5")
        check_finite("boost", self.boost)

    @property
    def poison(self) -> Trigger:
        """Marks and labels."""
        return Trigger(self.target, self.share, self.size)

    @property
    def factor(self) -> float:
        """The boost."""
        return self.boost
