"""Softmax regression in NumPy, federated."""
