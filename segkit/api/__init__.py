"""The commands as functions; ``segkit`` itself offers them, and loads each with its first use.

Each takes the record of the command's options, or what builds it, prints nothing, and returns what ``--json`` prints as
a record. docs/api.md says what one can rely on.
"""
