"""A dataset as batches of tensors."""
