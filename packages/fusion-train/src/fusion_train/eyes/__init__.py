"""Training of the eyes of ``smollm2-vl``: the projector between a frozen image encoder and a frozen language model."""
