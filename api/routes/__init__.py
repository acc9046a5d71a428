"""The routes, by what is asked about."""
