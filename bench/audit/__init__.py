"""Attacks on the product's own functions; each comes with builds broken on purpose, which it must catch."""
