"""The version, for all modules; ``segkit.__version__`` is the same."""

__version__ = "0.1.0"
