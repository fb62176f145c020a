"""A network with batch norm in Flax, federated."""
