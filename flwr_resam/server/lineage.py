"""What a class made of `Resam` can't be made of besides, and what to write in its place.

Flower's strategies put what they do into the methods that `Resam` has, so that of the two only one
would do it.
"""

from __future__ import annotations

from ..errors import requirement

_MODULE = "flwr.serverapp.strategy."
_OPTIMIZER = "Write Resam(..., optimizer={}), with what flwr_resam has of this name"
_RULE = "Give the rule to Resam: Resam(..., aggregator=parse_rule({}))"
_CURES = {
    "FedAdam": _OPTIMIZER.format("Adam(learning_rate=0.1)"),
    "FedYogi": _OPTIMIZER.format("Yogi(learning_rate=0.01)"),
    "FedAdagrad": _OPTIMIZER.format("Adagrad(learning_rate=0.1)"),
    "FedAvgM": _OPTIMIZER.format("Momentum(0.5)"),
    "FedOpt": _OPTIMIZER.format("Adam(learning_rate=0.1)"),
    "FedProx": 'Write Resam(...).start(..., train_config=ConfigRecord({"proximal-mu": 0.1})), '
    "which clients find where FedProx puts it",
    "FedMedian": _RULE.format('"cwmed"'),
    "FedTrimmedAvg": _RULE.format('"cwtm"'),
    "Krum": _RULE.format('"krum"'),
    "MultiKrum": _RULE.format('"multikrum"'),
    "Bulyan": _RULE.format('"bulyan"'),
}

_NEVER_CALLED = {
    "_construct_messages": "Override configure_train, and change the messages that "
    "super().configure_train(...) returns",
    "_check_and_log_replies": "Override aggregate_train, and hand on to "
    "super().aggregate_train(...) the replies that are to count",
}


def check_bases(cls: type) -> None:
    """Raise a TypeError for a class that derives from another of Flower's strategies.

    Examples
    --------
    >>> from flwr.serverapp.strategy import FedAdam
    >>> check_bases(FedAdam)
    Traceback (most recent call last):
    ...
    TypeError: `FedAdam` must derive from no other strategy of Flower beside Resam. Found FedAdam. \
Write Resam(..., optimizer=Adam(learning_rate=0.1)), with what flwr_resam has \
of this name.
    """
    for base in cls.__mro__:
        if base.__module__.startswith(_MODULE) and base.__name__ not in ("FedAvg", "Strategy"):
            raise requirement(
                cls.__name__, "derive from no other strategy of Flower beside Resam",
                base.__name__, _CURES.get(base.__name__, "Derive from Resam alone"),
                error=TypeError,
            )
    for name, cure in _NEVER_CALLED.items():
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is not None and not owner.__module__.startswith(_MODULE):
            raise requirement(
                cls.__name__, "override methods that Resam calls", name, cure, error=TypeError,
            )
