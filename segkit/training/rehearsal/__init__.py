"""A training rehearsed on fake tensors, which have shapes and no memory: what its heaviest steps would need."""
