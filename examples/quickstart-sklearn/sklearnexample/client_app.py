"""What a node runs."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from sklearnexample.task import create_model, fit, load_data

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    arrays = msg.content["arrays"].to_numpy_ndarrays()
    model = create_model(arrays, max_iter=context.run_config["local-epochs"])
    arrays = fit(model, x, y)
    metrics = MetricRecord({
        "train_accuracy": float(create_model(arrays).score(x, y)), "num-examples": len(y),
    })
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = create_model(msg.content["arrays"].to_numpy_ndarrays())
    metrics = MetricRecord({"eval_acc": float(model.score(x, y)), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
