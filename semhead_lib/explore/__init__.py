"""Looking at heads: figures, 3-D scenes and pictures for notebooks."""
