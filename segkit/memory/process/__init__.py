"""The processes of a profiled training: how they are started, how a session gets into them, and their workers."""
