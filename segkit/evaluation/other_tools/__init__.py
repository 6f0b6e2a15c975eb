"""How other tools score the same predictions: their rules, one after another."""
