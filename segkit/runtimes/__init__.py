"""Exported files as models that predict: a module per runtime."""
