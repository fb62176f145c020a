"""Logistic regression of scikit-learn, federated."""
