"""Result records as tables and JSON, a module per kind."""
