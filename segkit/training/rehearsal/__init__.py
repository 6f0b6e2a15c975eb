"""A training rehearsed on tensors that have shapes and no memory: what its heaviest steps would need."""
