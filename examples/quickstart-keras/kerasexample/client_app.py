"""What a node runs."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from kerasexample.task import built, load_data, names

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    model, config = built(), msg.content["config"]
    model.set_weights(msg.content["arrays"].to_numpy_ndarrays())
    model.optimizer.learning_rate = config["lr"]
    partition_id = context.node_config["partition-id"]
    x, y = load_data(partition_id, context.node_config["num-partitions"])
    random = np.random.default_rng(
        [context.run_config["seed"], partition_id, config["server-round"]]
    )
    loss = 0.0
    for _ in range(context.run_config["local-epochs"]):
        for batch in np.array_split(random.permutation(len(y)), max(1, len(y) // 32)):
            loss, _ = model.train_on_batch(x[batch], y[batch])
    arrays = ArrayRecord({
        name: Array(value) for name, value in zip(names(model), model.get_weights(), strict=True)
    })
    metrics = MetricRecord({"train_loss": float(loss), "num-examples": len(y)})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    model = built()
    model.set_weights(msg.content["arrays"].to_numpy_ndarrays())
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    _, accuracy = model.test_on_batch(x, y)
    metrics = MetricRecord({"eval_acc": float(accuracy), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
