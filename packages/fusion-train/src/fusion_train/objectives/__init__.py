"""What a training step learns from: cross-entropy, self-critical sequence training, and an auxiliary contrastive loss."""
