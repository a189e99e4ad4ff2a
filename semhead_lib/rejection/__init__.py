"""Rejecting bad samples: how far a generated head is from real ones, and whether a face shows on its
back."""
