"""Drawn shapes as instances: what LabelMe, VIA and other drawing tools have in common."""
