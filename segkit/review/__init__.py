"""What helps a person decide what to annotate, and what to correct."""
