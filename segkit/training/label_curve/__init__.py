"""How a score rises with the number of labels: runs on parts of the training split, and a power law through them."""
