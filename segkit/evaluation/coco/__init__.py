"""COCO's scores of instances, and what its files need before they can be scored."""
