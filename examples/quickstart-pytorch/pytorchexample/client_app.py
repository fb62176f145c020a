"""What a node runs."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_resam import momentum_mod

from pytorchexample.task import Net, accuracy, load_data
from pytorchexample.task import train as train_model

app = ClientApp(mods=[momentum_mod(beta=0.0)])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the server's model on the node's own data."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    partition_id = context.node_config["partition-id"]
    x, y = load_data(partition_id, context.node_config["num-partitions"])
    config = msg.content["config"]
    own_seed = hash((context.run_config["seed"], partition_id, config["server-round"]))
    loss = train_model(
        model, x, y,
        epochs=context.run_config["local-epochs"],
        lr=config["lr"],
        generator=torch.Generator().manual_seed(own_seed),
    )
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the server's model on the node's own data."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    metrics = MetricRecord({"eval_acc": accuracy(model, x, y), "num-examples": len(y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
