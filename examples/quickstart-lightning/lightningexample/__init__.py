"""A network in PyTorch Lightning, federated."""
