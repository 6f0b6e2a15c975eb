"""A leak as a record: the line that stores, the bound, the fix."""
