"""A synthetic border: the law of its traffic in two fidelities: months of zone-hour counts, a day of device events.

Everything here is seeded and simulated. The product's own noise (privacy/) is never seeded and shares no code with it.
"""
