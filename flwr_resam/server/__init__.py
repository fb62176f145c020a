"""The parts of one round at the server, from asking nodes to the checkpoint."""
