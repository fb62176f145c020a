"""A network with batch norm in PyTorch, federated."""
