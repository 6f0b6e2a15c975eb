"""A trained model on pictures: its predictions, and their score."""
