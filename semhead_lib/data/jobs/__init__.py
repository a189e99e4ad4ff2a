"""Making datasets: worker processes, many machines on one folder, or a Ray cluster."""
