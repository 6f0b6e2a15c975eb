"""Devices, ranks, processes and signals."""
