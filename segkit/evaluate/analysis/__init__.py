"""What a score is made of: kinds of mistake, counts, intervals."""
