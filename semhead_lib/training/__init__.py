"""From a dataset and a condition mode to a trained generator."""
