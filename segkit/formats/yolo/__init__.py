"""YOLO's segmentation folders: `images/`, `labels/` and `data.yaml`."""
