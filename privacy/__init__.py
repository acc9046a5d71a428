"""What may be said: the mechanism, what it costs, the ledger of what was said, and suppression."""
