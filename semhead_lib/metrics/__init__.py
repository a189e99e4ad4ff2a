"""Metrics as functions from tensors to numbers; evaluation gives them data, protocol and
intervals."""
