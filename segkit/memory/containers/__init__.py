"""Containers and values of the host that have a name, and grow."""
