"""A training step on fake tensors, which have no memory, and what CUDA's allocator would need for it."""
