"""Views of real people by FLUX.1 Kontext: from a frontal portrait to the same person seen from all
around."""
