"""The semantic condition: CLIP features of a subject's frontal view, and what each condition mode
makes of them."""
