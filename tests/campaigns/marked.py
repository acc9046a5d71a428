"""Noise that can be taken off again, and that no second draw repeats: what a campaign's edge draws with.

With it the ledger shows what the close had handed over, and a value that was drawn twice shows as another digest. No edge
outside a test can be started with it: `python -m tests.campaigns.marked` is `tidemark` with this noise in its place.
"""

import secrets

MARK = 10_000
"""More than any count of a campaign."""


class Marked:
    """`count + MARK * chance`: the count is what is left over by MARK."""

    def __init__(self, policy, level=None):
        from ingest.release import Level
        from privacy.mechanism import DiscreteGaussian

        level = level or Level.ZONE_HOUR
        self.policy, self.rho = policy, DiscreteGaussian(policy, level).rho

    def at(self, level):
        return Marked(self.policy, level)

    def draw(self, counts):
        return [count + MARK * (1 + secrets.randbelow(MARK)) for count in counts]


def unmarked(noisy):
    """What was handed over before it was marked."""
    return [value % MARK for value in noisy]


def main():
    """`tidemark`, whose edge draws with marks."""
    import jobs.edge
    from jobs.cli import main as tidemark

    jobs.edge.DiscreteGaussian = Marked
    tidemark()


if __name__ == "__main__":
    main()
