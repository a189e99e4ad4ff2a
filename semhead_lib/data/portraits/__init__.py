"""Photographs of people as portraits: an aligned crop, the camera that saw it, and a mask of the
head."""
