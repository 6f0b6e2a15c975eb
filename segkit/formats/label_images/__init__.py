"""Annotations as pictures whose values are ids: VOC, instance ids, class ids."""
