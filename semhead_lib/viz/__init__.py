"""Plots, 3-D scenes and files of heads."""
