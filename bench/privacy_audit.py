"""`make evidence-privacy`: attacks on the product's own functions, each with builds broken on purpose that it must catch.

    python -m bench.privacy_audit                          # the full size: a million runs of the mechanism
    python -m bench.privacy_audit --runs 20000 --attack sampler --attack late_rows
    python -m bench.privacy_audit --markdown > docs/evidence-privacy.md

Draws go through the functions that the ledger's transaction calls, or through the ledger itself; the noise is OpenDP's and
is never seeded. The seed rules what is made up around it. Exit code 1 when a target is missed, or when a broken build is
not caught: below a million runs the attacks on the noise cannot tell all of them.
"""

import argparse
import json
import sys
import time
from typing import Any

from bench.audit import levels, lives, loss, memory, rows, shapes, visibility
from bench.audit.finding import Attack, Finding, Size, markdown, yes
from bench.machine import provenance

ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        loss.mechanism_loss,
        loss.mechanism_loss_hours,
        loss.sampler,
        loss.membership,
        memory.restart_averaging,
        memory.losses,
        rows.late_rows,
        levels.differencing,
        memory.changes_in_the_day,
        visibility.publication,
        visibility.flags,
        memory.sizes_and_times,
        lives.canary,
        rows.neighbours_clock,
        rows.key_turn,
        shapes.schema_walk,
        shapes.scrubbing,
        rows.close_and_oracle,
        levels.released_minus_true,
        lives.lives,
    )
}


def main() -> int:
    """Print the table; 0 only if every target is met and every broken build caught."""
    parser = argparse.ArgumentParser(prog="python -m bench.privacy_audit", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=Size().runs, help="runs of the mechanism; the other sizes follow")
    parser.add_argument("--seed", type=int, default=Size().seed, help="of what is made up around the noise")
    parser.add_argument("--workers", type=int, default=Size().workers, help="processes that draw")
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="only this one; may be repeated")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true")
    shape.add_argument("--markdown", action="store_true", help="docs/evidence-privacy.md")
    asked = parser.parse_args()
    size = Size(asked.runs, asked.seed, asked.workers)
    report = audit(asked.attack or list(ATTACKS), size)
    if asked.json:
        print(json.dumps(report, indent=1))
    elif asked.markdown:
        print(page(report), end="")
    return 0 if report["sound"] else 1


def audit(names: list[str], size: Size) -> dict[str, Any]:
    """What every attack found; told on standard error as it comes in."""
    findings, seconds = {}, {}
    for name in names:
        began = time.perf_counter()
        found = ATTACKS[name](size)
        findings[name], seconds[name] = found, round(time.perf_counter() - began, 1)
        print(told(name, found, seconds[name]), file=sys.stderr, flush=True)
    return {
        **provenance(size.seed),
        "runs": size.runs,
        "sound": all(found.passed and found.broken_caught for found in findings.values()),
        "attacks": [{"name": name, **found.document(), "seconds": seconds[name]} for name, found in findings.items()],
        "table": markdown(list(findings.values())),
    }


def told(name: str, found: Finding, seconds: float) -> str:
    """One finding for a terminal."""
    lines = [f"{name} ({seconds} s): {found.figure}", f"    target {found.target}: {yes(found.passed)}"]
    lines += [f"    broken, {build.build}: {build.figure}: caught {yes(build.caught)}" for build in found.broken]
    return "\n".join(lines)


def page(report: dict[str, Any]) -> str:
    """The report as a page of the documentation."""
    verdict = (
        "Every target is met and every broken build caught."
        if report["sound"]
        else "**A target is missed, or a broken build was not caught.**"
    )
    total = sum(attack["seconds"] for attack in report["attacks"])
    return "\n".join(
        [
            "# Attacks on the promise, and what they found",
            "",
            "Made by `make evidence-privacy`; do not edit. Each attack runs on the product's own functions, and again on "
            "builds that lack one guard. An attack that does not catch those would prove nothing.",
            "",
            f"Commit {report['commit']}, seed {report['seed']} (for what is made up around the noise; the noise itself is "
            f"never seeded), {report['machine']}, {report['runs']:,} runs of the mechanism, {total / 60:.0f} minutes. "
            + verdict,
            "",
            report["table"],
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
