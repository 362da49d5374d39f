"""Derivations: the steps from a network's equations to its gradients, each with its rule and its check by numbers."""
