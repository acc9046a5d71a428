"""What an attack found: our figure beside its target, and what the same attack finds of builds without the guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Size:
    """How large the attacks are: runs of the mechanism (the other sizes follow), our own seed, processes that draw.

    The seed rules what is made up around the mechanism (feeds, backgrounds, texts), never the noise.
    """

    runs: int = 1_000_000
    seed: int = 7
    workers: int = 2

    def share(self, part: float, least: int) -> int:
        """A part of the runs, at least so many."""
        return max(round(self.runs * part), least)


@dataclass(frozen=True, slots=True)
class Broken:
    """A build without one guard: what the attack read off it, and whether it was caught."""

    build: str
    figure: str
    caught: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack on the product, and the same attack on the builds that it must catch."""

    attack: str
    figure: str
    target: str
    passed: bool
    broken: tuple[Broken, ...]
    note: str = ""

    @property
    def broken_caught(self) -> bool:
        """Whether every broken build was caught; without one nothing is proved."""
        return bool(self.broken) and all(build.caught for build in self.broken)

    def document(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "attack": self.attack,
            "figure": self.figure,
            "target": self.target,
            "passed": self.passed,
            "broken_figure": "; ".join(f"{build.build}: {build.figure}" for build in self.broken),
            "broken_caught": self.broken_caught,
            "broken": [{"build": build.build, "figure": build.figure, "caught": build.caught} for build in self.broken],
            "note": self.note,
        }


Attack = Callable[[Size], Finding]

HEAD = ("attack", "our figure", "target", "met", "broken build: its figure", "caught")


def markdown(findings: Sequence[Finding]) -> str:
    """The findings as a Markdown table, and their notes below it."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for finding in findings:
        cells = (
            finding.attack,
            finding.figure,
            finding.target,
            yes(finding.passed),
            "<br>".join(f"{build.build}: {build.figure}" for build in finding.broken),
            "<br>".join(yes(build.caught) for build in finding.broken),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [f"* *{finding.attack}*: {finding.note}" for finding in findings if finding.note]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def yes(holds: bool) -> str:
    """As the table says it; what does not hold is loud."""
    return "yes" if holds else "**NO**"
