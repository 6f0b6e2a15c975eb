"""Which tensors outlive their step, and what keeps a tensor alive, as a Python expression."""
