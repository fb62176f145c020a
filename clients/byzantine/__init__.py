"""What one device can do alone, on simulated and real nodes alike.

A Byzantine node is chosen by the run's ``attack`` (the last f partitions) or by the node's own
config: ``flower-supernode --node-config 'byzantine="malformed(kind=truncated npy)"'``. On any other
ClientApp, put `byzantine_mod` among its mods.
"""

from __future__ import annotations

from flwr.app import Context
from flwr.clientapp.typing import Mod

from clients.byzantine.backdoor import Backdoor
from clients.byzantine.label_flip import LabelFlip
from clients.byzantine.malformed import Malformed
from clients.byzantine.mod import Conduct, misconduct
from clients.byzantine.poisoning import Poisoning
from clients.settings import ClientSettings
from flwr_resam.attacks import ATTACKS, Attack
from flwr_resam.errors import requirement
from flwr_resam.parse import Plan, parse_plans, shares
from flwr_resam.registry import Registry, View

__all__ = [
    "ALL_ATTACKS", "BYZANTINE_CLIENTS", "CONDUCTS", "Conduct", "byzantine_mod", "misconduct_of",
    "on_device", "planned",
]

CONDUCTS: Registry[Conduct] = Registry(
    "Byzantine client", Conduct, [LabelFlip, Backdoor, Malformed]
)

ALL_ATTACKS: View[Attack | Conduct] = View("attack", ATTACKS, CONDUCTS)
"""What a run-config's ``attack`` may name; what a device can do, a device does."""

BYZANTINE_CLIENTS: View[Attack | Conduct] = View(
    "Byzantine client", ATTACKS, CONDUCTS, where=lambda kind: kind.knowledge == "alone"
)
"""What one device can do, since it takes no more than what that device has."""


def byzantine_mod(text: str, seed: int = 0) -> Mod:
    """Return the mod of a Byzantine device, such as ``sign-flip when(start=10)``.

    Put it before `momentum_mod` to attack the momentum, after it to attack what momentum is
    taken of. `label-flip` and `backdoor` are no
    mods: a mod sees no data.

    Raises
    ------
    ValueError
        For a name, argument or schedule that can't be.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> from flwr_resam import momentum_mod
    >>> app = ClientApp(mods=[byzantine_mod("gaussian(std=10)"), momentum_mod(0.9)])
    """
    plan = _single(text)
    if isinstance(plan.what, Poisoning):
        raise requirement(
            "byzantine", "be something that a mod can do", repr(text),
            "Poison the data in your own training function, which alone sees them",
        )
    return misconduct(plan, seed)


def misconduct_of(context: Context) -> Mod | None:
    """Return what this node of an experiment does in place of honest work; None if nothing."""
    settings = ClientSettings.of_node(context)
    own = str(context.node_config.get("byzantine", ""))
    if own:
        return misconduct(_single(own), settings.seed)
    partition = int(context.node_config.get("partition-id", 0))
    if settings.attack == "none" or partition < settings.num_nodes - settings.num_malicious_nodes:
        return None
    plans = planned(settings.attack, settings.num_nodes, settings.num_malicious_nodes)
    plan = next((plan for plan, partitions in plans if partition in partitions), None)
    return misconduct(plan, settings.seed) if plan is not None and on_device(plan) else None


def planned(
    attack: str, num_nodes: int, num_malicious_nodes: int
) -> list[tuple[Plan[Attack | Conduct], range]]:
    """Which of the last f partitions each of the run's attacks is on."""
    plans = parse_plans(attack, ALL_ATTACKS)
    end = num_nodes - num_malicious_nodes
    assigned = []
    for plan, count in zip(plans, shares(plans, num_malicious_nodes), strict=True):
        assigned.append((plan, range(end, end + count)))
        end += count
    return assigned


def on_device(plan: Plan[Attack | Conduct]) -> bool:
    """Whether a device does this by itself, rather than the adversary before the grid."""
    return plan.what.name in BYZANTINE_CLIENTS


def _single(text: str) -> Plan[Attack | Conduct]:
    plans = parse_plans(text, BYZANTINE_CLIENTS)
    if len(plans) != 1 or plans[0].count is not None:
        raise requirement(
            "byzantine", "be one attack for one device", repr(text), "Write `sign-flip`, say"
        )
    return plans[0]
