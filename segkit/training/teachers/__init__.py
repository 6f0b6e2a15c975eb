"""What a training learns from besides its annotations: the answers of another model."""
