"""The model, a LightningModule, and the data: handwritten digits."""

import logging
import warnings
from functools import cache

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NUM_TRAIN = 1400

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")  # of few workers, small epochs


class Net(lightning.LightningModule):
    """One hidden layer, normalised by batch norm."""

    def __init__(self, learning_rate=0.05):
        super().__init__()
        self.learning_rate = learning_rate
        self.layers = nn.Sequential(
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
        )

    def training_step(self, batch, batch_number):
        """Cross-entropy of a batch."""
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log("train_loss", loss)
        return loss

    def test_step(self, batch, batch_number):
        """Accuracy on a batch."""
        x, y = batch
        self.log("accuracy", (self.layers(x).argmax(dim=1) == y).float().mean())

    def configure_optimizers(self):
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)


@cache
def load_all():
    """Images in [0, 1], shape (1797, 64), and labels, always in the same order."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


def share(labels, partition_id, num_partitions):
    """Which of the training examples a node holds."""
    return torch.arange(partition_id, len(labels), num_partitions)


def load_data(partition_id, num_partitions, seed):
    """Load a node's share, in batches of 32; a last one of a single example has no variance."""
    x, y = load_all()
    own = share(y[:NUM_TRAIN], partition_id, num_partitions)
    return DataLoader(
        TensorDataset(x[own], y[own]), batch_size=32, shuffle=True,
        drop_last=len(own) % 32 == 1 and len(own) > 1,
        generator=torch.Generator().manual_seed(seed),
    )


def load_test_data():
    """Load what no node trains on."""
    x, y = load_all()
    return DataLoader(TensorDataset(x[NUM_TRAIN:], y[NUM_TRAIN:]), batch_size=397)


def trainer(epochs=1):
    """Make a trainer that writes nothing: the server has the model."""
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
