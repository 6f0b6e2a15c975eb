"""Containers and values in host memory that grow."""
