"""The feature of a subject's frontal view, predicted from a photograph from any side."""
