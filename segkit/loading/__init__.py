"""Load a dataset as batches of tensors."""
