"""People: accounts, preferences, API tokens."""
