"""LoRA adapters of a small transformer, federated."""
