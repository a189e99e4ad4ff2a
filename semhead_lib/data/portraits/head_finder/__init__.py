"""Heads found in photographs from any side: camera, place and mask, without a face detector."""
