"""What a training step would need on a GPU, found by running it on tensors that have shapes and no memory."""
