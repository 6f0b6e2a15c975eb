"""A leak as a record: the line that stores, the bound, the fix.

A leak goes through three records. A ``Cause`` (``holders``) refers to the user's objects and lives for one search. A
``Suspect`` is the same in plain values and lives as long as the session. A ``Leak`` or a ``Growth`` is what the report
makes of a suspect, with bytes and steps.
"""
