"""The n rows of a round: where they lie, how they are measured, ordered, summed and combined."""
