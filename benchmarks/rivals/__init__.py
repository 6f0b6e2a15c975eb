"""What else is on the package index, run over the same zoo of leaks, script by script."""
