"""What a node runs."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from numpyexample.task import accuracy, load_data
from numpyexample.task import train as train_model

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    partition_id = context.node_config["partition-id"]
    x, y = load_data(partition_id, context.node_config["num-partitions"])
    config = msg.content["config"]
    model, loss = train_model(
        msg.content["arrays"].to_numpy_ndarrays(), x, y,
        epochs=context.run_config["local-epochs"],
        learning_rate=config["lr"],
        random=np.random.default_rng(
            [context.run_config["seed"], partition_id, config["server-round"]]
        ),
    )
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord(model), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = msg.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"eval_acc": accuracy(model, x, y), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
