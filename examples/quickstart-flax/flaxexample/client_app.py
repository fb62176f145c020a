"""What a node runs."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from flaxexample.task import accuracy, load_data, to_arrays, to_variables
from flaxexample.task import train as train_model

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    partition_id = context.node_config["partition-id"]
    x, y = load_data(partition_id, context.node_config["num-partitions"])
    config = msg.content["config"]
    variables, loss = train_model(
        to_variables({name: array.numpy() for name, array in msg.content["arrays"].items()}), x, y,
        epochs=context.run_config["local-epochs"],
        learning_rate=config["lr"],
        random=np.random.default_rng(
            [context.run_config["seed"], partition_id, config["server-round"]]
        ),
    )
    arrays = ArrayRecord({name: Array(value) for name, value in to_arrays(variables).items()})
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    variables = to_variables(
        {name: array.numpy() for name, array in msg.content["arrays"].items()}
    )
    metrics = MetricRecord({"eval_acc": accuracy(variables, x, y), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
