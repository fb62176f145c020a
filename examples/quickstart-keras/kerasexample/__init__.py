"""A network with batch norm in Keras on TensorFlow, federated."""
