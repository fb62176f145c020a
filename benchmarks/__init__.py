"""What flwr-resam costs: each module measures one thing and writes JSON into `results`."""
