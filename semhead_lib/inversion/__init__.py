"""Inversion: from photographs of one person to a head that can be seen from everywhere."""
