"""The model, a tiny transformer with LoRA adapters, and the data: made-up sentences.

The transformer is drawn at random from a seed, so that nothing is downloaded; a real app would load
a pretrained one in `base_model`. What is federated is the adapters and the classifier's head.
"""

from functools import cache

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import BertConfig, BertForSequenceClassification

VOCABULARY, LENGTH, CLASSES = 40, 12, 4
NUM_TRAIN, NUM_TEST = 1080, 400


def base_model():
    """Make the transformer that all nodes hold, frozen; the same at each of them."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=LENGTH, num_labels=CLASSES,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    ))


def new_model():
    """Put adapters on the transformer."""
    return get_peft_model(base_model(), LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=["query", "value"],
    ))


own_model = cache(new_model)  # the transformer stays as it is, so one is enough


def load_model(arrays):
    """Return the model with the server's numbers in its adapters."""
    set_peft_model_state_dict(own_model(), arrays)
    return own_model()


def adapters(model):
    """Return what is trained and sent, by name."""
    return get_peft_model_state_dict(model)


@cache
def load_all():
    """Sentences of word numbers, shape (1480, 12), and the topic of each.

    Each topic has ten words of its own, and about four fifths of a sentence are of its topic.
    """
    draw = torch.Generator().manual_seed(0)
    count = NUM_TRAIN + NUM_TEST
    topics = torch.randint(CLASSES, (count,), generator=draw)
    own = topics[:, None] * 10 + torch.randint(10, (count, LENGTH), generator=draw)
    other = torch.randint(VOCABULARY, (count, LENGTH), generator=draw)
    of_topic = torch.rand((count, LENGTH), generator=draw) < 0.8
    return torch.where(of_topic, own, other), topics


def share(labels, partition_id, num_partitions):
    """Which of the training examples a node holds."""
    return torch.arange(partition_id, len(labels), num_partitions)


def load_data(partition_id, num_partitions):
    """Load a node's share."""
    x, y = load_all()
    own = share(y[:NUM_TRAIN], partition_id, num_partitions)
    return x[own], y[own]


def load_test_data():
    """Load what no node trains on."""
    x, y = load_all()
    return x[NUM_TRAIN:], y[NUM_TRAIN:]


def train(model, x, y, epochs, lr, generator):
    """Take epochs of AdamW in batches of 32; return the last batch's loss."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    loss = torch.zeros(())
    for _ in range(epochs):
        for batch in torch.randperm(len(y), generator=generator).split(32):
            optimizer.zero_grad()
            loss = model(input_ids=x[batch], labels=y[batch]).loss
            loss.backward()
            optimizer.step()
    return loss.item()


@torch.no_grad()
def accuracy(model, x, y):
    """The share of examples that the model gets right."""
    model.eval()
    return (model(input_ids=x).logits.argmax(dim=1) == y).float().mean().item()
