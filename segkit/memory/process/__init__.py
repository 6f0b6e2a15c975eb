"""The processes of a profiled training: how they are started, how a session gets into them, and their workers."""

FOLDER, HOME = "SEGKIT_MEMPROFILE", "SEGKIT_MEMPROFILE_HOME"
"""Environment variables of a profiled script: the folder for what is found, and the folder of segkit."""
SETTINGS = "settings.json"
"""What to measure; in that folder."""
