"""Experiments: the ServerApp, their settings, the runs and their figures."""
