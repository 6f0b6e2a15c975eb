"""What a score is made of: error types, counts, panoptic quality, confidence intervals."""
