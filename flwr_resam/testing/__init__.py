"""The properties of rules and attacks, as code that a user's own tests call.

These are the checks that every entry of this library's registries passes:

    from flwr_resam.testing import check_rule

    def test_my_rule():
        check_rule(Winsorized(extra=1))
"""

from ._report import PropertyError
from .attacks import ATTACK_PROPERTIES, check_attack
from .preaggregators import PREAGGREGATOR_PROPERTIES
from .rules import RULE_PROPERTIES, check_rule

__all__ = [
    "ATTACK_PROPERTIES",
    "PREAGGREGATOR_PROPERTIES",
    "RULE_PROPERTIES",
    "PropertyError",
    "check_attack",
    "check_rule",
]
