"""What runs on a node: data, models, the momentum client and the Byzantine clients."""
