"""A run as numbers for Prometheus."""

from __future__ import annotations

from ..errors import requirement
from .view import View


def exposition(view: View) -> bytes:
    """Return the text that Prometheus reads: the last value of each metric, and each node's state.

    Raises
    ------
    ImportError
        If prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError as error:
        raise requirement(
            "prometheus-client", "be installed for /metrics", "none",
            'pip install "flwr-resam[watch]"', error=ImportError,
        ) from error
    registry = CollectorRegistry()
    Gauge("resam_round", "Rounds that are over", registry=registry).set(max(view.rounds, default=0))
    metric = Gauge("resam_metric", "Last value of a metric", ["name"], registry=registry)
    for name, values in view.series.items():
        known = [value for value in values if value is not None]
        metric.labels(name).set(known[-1])
    kinds = ("asked", "rejected", "silent", "unasked", "twins")
    counts = {
        kind: Gauge(f"resam_node_{kind}", f"Rounds: {kind}", ["node"], registry=registry)
        for kind in kinds
    }
    look = Gauge("resam_node_remarks", "Reasons to look at a node", ["node"], registry=registry)
    for node in view.nodes:
        for kind in kinds:
            counts[kind].labels(node["node"]).set(node[kind])
        look.labels(node["node"]).set(len(node["remarks"]))
    return bytes(generate_latest(registry))
