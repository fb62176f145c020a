"""What aggregation costs in time and memory, beside its peers and beside the hardware."""
