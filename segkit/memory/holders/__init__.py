"""What keeps a tensor alive, as a Python expression."""
