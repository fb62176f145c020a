"""A small network in JAX, federated."""
