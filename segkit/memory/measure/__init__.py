"""Counters by step and phase: tensors by line, CUDA's allocator, the host."""
