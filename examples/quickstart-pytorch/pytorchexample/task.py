"""The model, a small network with batch norm, and the data: handwritten digits."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn

NUM_TRAIN = 1400


class Net(nn.Module):
    """One hidden layer, normalised by batch norm."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        """Scores of the ten digits."""
        return self.out(torch.relu(self.norm(self.hidden(x))))


@cache
def load_all():
    """Images, shape (1797, 64), and labels, always in the same order."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    # Small inputs: batch norm starts at a variance of 1 and has to find one of 0.01.
    return torch.tensor(images / 64, dtype=torch.float32)[order], torch.tensor(labels)[order]


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
    """Take epochs of SGD in batches of 32; return the last batch's loss."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = torch.zeros(())
    for _ in range(epochs):
        for batch in torch.randperm(len(y), generator=generator).split(32):
            if len(batch) == 1:
                continue  # one example has no variance
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
    return loss.item()


@torch.no_grad()
def accuracy(model, x, y):
    """The share of examples that the model gets right."""
    model.eval()
    return (model(x).argmax(dim=1) == y).float().mean().item()
