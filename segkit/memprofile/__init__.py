"""The memory of a training: measured, or estimated without a GPU."""
