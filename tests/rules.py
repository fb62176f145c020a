"""What the tests of rules share: a rule for every registry entry, and rows to give it."""

from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.testing._rows import SIZES, diameter, draw

__all__ = ["ARGUMENTS", "SIZES", "cases", "diameter", "draw", "make", "smallest"]

ARGUMENTS = {
    "cc": "radius=1.0",
    "monna": "trusted=0",
    "byzantine-sgd": "deviation=1.0, diameter=10.0, rounds=100",
    "clipping": "radius=1.0",
}
"""For the rules that can't be made without."""

CHOSEN = {
    "fltrust": "trusted=0",  # there is no row of the server's own
    "flame": "noise=0.0",  # which is added to whatever the rule finds
}
"""For the rules that are tested in another form than their default one."""


def make(name):
    """The rule of a registry entry."""
    given = ARGUMENTS | CHOSEN
    text = f"{name}({given[name]})" if name in given else name
    if name in PREAGGREGATORS:
        return parse_rule(f"{text} | mean").before[0]
    return parse_rule(text)


def cases():
    """Every aggregator with every size that it admits."""
    return [
        (name, n, f) for name in AGGREGATORS for n, f in SIZES if make(name).admits(n, f)
    ]


def smallest(name, f):
    """The least n that a rule admits for f faults."""
    return next(n for n in range(1, 100) if make(name).admits(n, f))
