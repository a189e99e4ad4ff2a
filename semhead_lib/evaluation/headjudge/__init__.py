"""headjudge: a small network trained on parametric heads, whose features the metrics use."""
