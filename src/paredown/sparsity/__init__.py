"""Sparse networks: what can be pruned, what it costs, which weights are kept, and a network that holds its zeros."""
