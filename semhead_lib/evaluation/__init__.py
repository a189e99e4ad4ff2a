"""Measures of images and geometry; the same functions serve training, notebooks and tests."""
