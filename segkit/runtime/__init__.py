"""Devices, ranks, processes and signals. ``signals`` imports the standard library only."""
