"""The processes of a profiled training: starting them, attaching to them, their workers."""
