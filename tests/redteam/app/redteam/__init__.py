"""The App that a test submits."""
