"""headclip-64, the embedded CLIP: its captions, vocabulary, training, judgement and card."""
