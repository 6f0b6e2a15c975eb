"""COCO's instance annotation files."""
