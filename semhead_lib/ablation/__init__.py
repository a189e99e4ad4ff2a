"""Ablations: many trainings that differ in one thing at a time, judged alike, and what follows from
them."""
