"""A failing step in a bottle: what a step of a training needs to be run again in another process."""
