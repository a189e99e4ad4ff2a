"""Looking at heads: figures, 3-D scenes and images for notebooks."""
