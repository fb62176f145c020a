"""The n rows of a round: the pass that measures them and the pass that combines them."""
