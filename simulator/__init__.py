"""A synthetic border: the law of its traffic, and two fidelities of it (zone-hour counts for months, device events for a day).

Everything here is seeded and simulated. The product's own noise (privacy/) is never seeded and shares no code with it.
"""
