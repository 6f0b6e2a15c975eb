"""Other tools, run on the same zoo of leaks."""
