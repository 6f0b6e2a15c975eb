"""Annotations as images of ids: VOC, instance ids, class ids."""
