"""A record of Flower as a row, and back: what the server, the workers and the grids share."""
