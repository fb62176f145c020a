"""Resam on a model of zeros; a line of JSON for each round, and one for the end."""

import json
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from flwr_resam import Resam, parse_rule

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and write what came of it."""
    config = context.run_config
    started = time.monotonic()
    with open(str(config["out"]), "a", encoding="utf-8", buffering=1) as out:

        def report(server_round: int, arrays: ArrayRecord) -> None:
            nonlocal started
            now = time.monotonic()
            line = {
                "round": server_round, "seconds": now - started,
                "model": arrays["w"].numpy()[:8].tolist(),
            }
            print(json.dumps(line), file=out)
            started = now

        try:
            strategy = Resam(
                num_malicious_nodes=config["malicious"],
                aggregator=parse_rule(str(config["aggregator"])),
                min_available_nodes=config["nodes"],
                fraction_evaluate=0.0,
                timeout=config["timeout"],
                max_skipped_rounds=config["max-skipped"],
            )
            model = ArrayRecord({"w": Array(np.zeros(config["size"], np.float32))})
            done = strategy.start(
                grid, model, num_rounds=config["rounds"], evaluate_fn=report
            )
            metrics = {key: dict(value) for key, value in done.train_metrics_clientapp.items()}
            print(json.dumps({"end": "completed", "metrics": metrics}), file=out)
        except BaseException as error:
            print(json.dumps({"end": f"{type(error).__name__}: {error}"}), file=out)
            raise
