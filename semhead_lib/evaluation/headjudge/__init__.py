"""headjudge: a small network that knows parametric heads, and lends its features to the metrics."""
