"""A training step on tensors without memory, and what CUDA's allocator would need for it."""
