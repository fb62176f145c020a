"""What a node runs."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from lightningexample.task import Net, load_data, trainer

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    config = msg.content["config"]
    model = Net(config["lr"])
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = own_data(context, config["server-round"])
    fitting = trainer(context.run_config["local-epochs"])
    fitting.fit(model, data)
    loss = fitting.callback_metrics["train_loss"].item()
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(data.dataset)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = own_data(context, 0)
    (found,) = trainer().test(model, data, verbose=False)
    metrics = MetricRecord({"eval_acc": found["accuracy"], "num-examples": len(data.dataset)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)


def own_data(context: Context, server_round: int):
    """Load the node's share, in an order of the round's own."""
    partition_id = context.node_config["partition-id"]
    seed = hash((context.run_config["seed"], partition_id, server_round))
    return load_data(partition_id, context.node_config["num-partitions"], seed)
