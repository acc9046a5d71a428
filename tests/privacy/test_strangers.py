"""The verifier for strangers: it runs on bare Python, the untouched ledger passes, and every planted fault is named.

Most faults are planted by a forger who makes digests, links and head whole again afterwards: what is left to catch him is
what the numbers say.
"""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.release import release_digest
from privacy.accountant import epsilon
from privacy.curve import gaussian_epsilon
from privacy.policy import ReleasePolicy
from tests.privacy.stranger import VERIFIER, Held, said, verifier

VERIFY = verifier()
FIRST_HOUR, SECOND_HOUR = "2026-03-02T02:00:00Z", "2026-03-02T03:00:00Z"
FIRST_DAY, LOST_DAY, THIRD_DAY = "2026-03-02T02:00:00Z", "2026-03-03T02:00:00Z", "2026-03-04T02:00:00Z"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Held:
    return said(tmp_path_factory.mktemp("said"))


def outcome(held: Held, folder: Path, *more: str) -> tuple[int, set[str], dict]:
    """Exit code, broken or missing rules, and the whole JSON answer."""
    shutil.rmtree(folder / "desk", ignore_errors=True)
    return run([*held.write(folder / "desk"), *more])


def run(words: list[str]) -> tuple[int, set[str], dict]:
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = VERIFY.main([*words, "--json"])
    answer = json.loads(printed.getvalue())
    assert answer["exit_code"] == code
    return code, {fault["rule"] for fault in answer.get("faults", [])}, answer


# What a stranger does


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    """The file run by a Python that has nothing but its standard library, far from the project."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={},
    )


def test_the_untouched_ledger_passes_on_bare_python(sound: Held, tmp_path) -> None:
    answer = bare(*sound.write(tmp_path / "desk"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[-1] == "Every rule that could be checked holds."
    assert answer.stdout.startswith("Ledger of carrier-a (live): entries 68, token-days 3, releases 57, policies 2.\n")


def test_it_says_in_plain_sentences_what_is_broken(sound: Held, tmp_path) -> None:
    held = sound.copy()
    held.release_of("zone-hour", FIRST_HOUR)["counts"][0]["value"] = 999
    answer = bare(*held.write(tmp_path / "desk"))
    assert answer.returncode == 1
    assert "BROKEN file.digest: the digest of a release is that of its content." in answer.stdout
    assert f"zone-hour {FIRST_HOUR} (zone-hour_20260302T02.json): its content was changed" in answer.stdout


def test_it_needs_no_more_than_python_3_9_and_its_standard_library() -> None:
    tree = ast.parse(VERIFIER.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= set(sys.stdlib_module_names)
    assert imported.isdisjoint({"socket", "urllib", "http", "subprocess", "importlib", "ctypes", "os"})
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


def test_without_the_carriers_ledger_the_centres_pages_alone_can_be_checked(sound: Held, tmp_path) -> None:
    desk = tmp_path / "desk"
    sound.write(desk)
    assert run([str(desk / "centre"), str(desk / "releases")])[:2] == (0, set())
    held = sound.copy()
    changed = held.release_of("zone-hour", FIRST_HOUR)
    changed["counts"][0]["value"] += 1
    changed["digest"] = release_digest(changed)
    held.write(tmp_path / "other")
    assert run([str(tmp_path / "other" / "centre"), str(tmp_path / "other" / "releases")])[:2] == (1, {"file.recorded"})


def test_a_ledger_alone_can_be_checked(sound: Held, tmp_path) -> None:
    ledger, *_ = sound.write(tmp_path / "desk")
    assert run([ledger])[:2] == (0, set())


def test_what_the_budget_means_is_the_accountants_word(sound: Held, tmp_path) -> None:
    _, _, answer = outcome(sound, tmp_path)
    policy = ReleasePolicy()
    for days, found in answer["checked"]["epsilon"].items():
        assert found == pytest.approx(epsilon(policy.rho_day, policy.delta, days=int(days)), abs=0.006)


@given(st.floats(1e-4, 30), st.sampled_from([1e-9, 1e-6, 1e-5]))
@settings(max_examples=200)
def test_the_verifiers_curve_is_the_projects(rho: float, delta: float) -> None:
    assert VERIFY.epsilon(rho, delta) == pytest.approx(gaussian_epsilon(rho, delta), rel=1e-9)


def test_the_verifiers_floors_are_those_of_the_policy() -> None:
    from ingest.release import Level
    from privacy import policy

    assert (VERIFY.MAX_RHO_DAY, VERIFY.MAX_DELTA, VERIFY.MAX_K) == (policy.MAX_RHO_DAY, policy.MAX_DELTA, policy.MAX_K)
    assert {level.value: share for level, share in policy.SHARES.items()} == VERIFY.SHARES
    default = ReleasePolicy()
    for level in Level:
        assert VERIFY.MIN_THRESHOLD[level] == default.threshold_at(level)
        assert VERIFY.square_l2(level, default.k) == pytest.approx(default.l2_at(level) ** 2)
        assert VERIFY.mechanism_of(default.document(), level).items() <= default.mechanism(level).items()


# Faults that leave the chain broken: a clumsy hand

CLUMSY: dict[str, tuple[set[str], Callable[[Held], object]]] = {
    "a changed digest in the ledger": (
        {"chain.digest", "file.recorded", "centre.digest"},
        lambda held: held.entries("release")[3].update(release_digest="sha256:" + "0" * 64),
    ),
    "an entry left out": (
        {"chain.number", "chain.link", "release.charged"},
        lambda held: held.ledger["entries"].pop(2),
    ),
    "an entry changed with its digest": (
        {"chain.link"},
        lambda held: (
            held.ledger["entries"][0]["document"]["policy"].update(reason="because"),
            held.ledger["entries"][0].update(digest=VERIFY.digest_of(held.ledger["entries"][0]["document"])),
        ),
    ),
    "the tail cut off": ({"chain.head"}, lambda held: held.ledger["entries"].pop()),
    "two entries in another order": (
        {"chain.number", "chain.link"},
        lambda held: held.ledger["entries"].insert(4, held.ledger["entries"].pop(5)),
    ),
    "another head": ({"chain.head"}, lambda held: held.ledger.update(head="1" * 64)),
    "a value flipped in a release": (
        {"file.digest"},
        lambda held: held.release_of("zone-hour", FIRST_HOUR)["counts"][0].update(value=20_001),
    ),
    "a room for a device": (
        {"file.shape"},
        lambda held: held.release_of("zone-hour", FIRST_HOUR)["counts"][0].update(imsi="452040000000000"),
    ),
    "an entry of an unknown kind": (
        {"ledger.shape", "chain.digest"},
        lambda held: held.ledger["entries"][5]["document"].update(kind="gift"),
    ),
}


@pytest.mark.parametrize("planted", CLUMSY)
def test_a_clumsy_fault_is_named(sound: Held, tmp_path, planted: str) -> None:
    expected, plant = CLUMSY[planted]
    held = sound.copy()
    plant(held)
    code, broken, _ = outcome(held, tmp_path)
    assert code == 1
    assert expected <= broken


# Faults of a forger who makes the chain whole again


def lower_threshold(held: Held) -> None:
    release = held.release_of("zone-hour", FIRST_HOUR)
    release["counts"][3]["value"] = 49
    held.reseal_release(release)


def threshold_of_49(held: Held) -> None:
    policy = held.entries("policy")[0]
    policy["policy"]["threshold"] = 49
    pass_on(held, policy)


def pass_on(held: Held, policy: dict) -> None:
    """Write a changed policy's digest wherever it is named."""
    before, policy["policy_digest"] = policy["policy_digest"], VERIFY.digest_of(policy["policy"])
    for entry in [*held.entries("token-day"), *held.entries("policy")]:
        for key in ("policy_digest", "previous"):
            if entry.get(key) == before:
                entry[key] = policy["policy_digest"]


def weaker(**changes: object) -> Callable[[Held], None]:
    def plant(held: Held) -> None:
        policy = held.entries("policy")[0]
        policy["policy"].update(changes)
        pass_on(held, policy)

    return plant


def charge(**changes: object) -> Callable[[Held], None]:
    return lambda held: held.entry("charge", token_day=FIRST_DAY, level="zone-hour").update(changes)


def move_entry(held: Held, document: dict, to: int) -> None:
    entries = held.ledger["entries"]
    entries.insert(to, entries.pop(held.at(document)))


def drop(kind: str, **keys: object) -> Callable[[Held], object]:
    return lambda held: held.ledger["entries"].pop(held.at(held.entry(kind, **keys)))


def a_second_digest(held: Held) -> None:
    first = held.entry("release", level="zone-hour", window_start=FIRST_HOUR)
    held.insert({**first, "release_digest": "sha256:" + "7" * 64}, at=held.at(first) + 1)


def a_second_file(held: Held) -> None:
    other = json.loads(json.dumps(held.release_of("zone-hour", FIRST_HOUR)))
    other["feed"]["complete"] = False
    other["digest"] = release_digest(other)
    held.releases["another.json"] = other


def in_release(level: str, window: str, change: Callable[[dict], object]) -> Callable[[Held], None]:
    def plant(held: Held) -> None:
        release = held.release_of(level, window)
        change(release)
        held.reseal_release(release)

    return plant


def a_policy_at_noon(held: Held) -> None:
    stricter = held.entries("policy")[1]
    stricter["takes_effect"] = "2026-03-03T12:00:00Z"


def a_policy_in_a_day_that_runs(held: Held) -> None:
    stricter = held.entries("policy")[1]
    stricter["takes_effect"] = FIRST_DAY
    move_entry(held, stricter, held.at(held.entry("release", window_start=SECOND_HOUR)) + 1)


def a_policy_announced(held: Held) -> None:
    move_entry(held, held.entries("policy")[1], held.at(held.entry("release", window_start=SECOND_HOUR)) + 1)


def a_draw_after_the_close(held: Held) -> None:
    move_entry(held, held.entry("closed"), held.at(held.entry("charge", token_day=LOST_DAY)))


def a_day_inside_a_day(held: Held) -> None:
    day = held.entry("token-day", token_day=THIRD_DAY)
    for entry in [day, *held.entries("charge"), *held.entries("release")]:
        if entry.get("token_day") == THIRD_DAY:
            entry["token_day"] = "2026-03-04T01:00:00Z"


def words_without_a_draw(held: Held) -> None:
    entry = held.entry("release", token_day=LOST_DAY, drawn=False)
    entry["suppressed"] -= 1


FORGED: dict[str, tuple[set[str], Callable[[Held], object]]] = {
    "a value of 49": ({"file.threshold"}, lower_threshold),
    "a policy with threshold 49": ({"policy.floor"}, threshold_of_49),
    "a policy of three movements": ({"policy.floor", "policy.noise"}, weaker(k=3)),
    "a policy with a larger budget": ({"policy.floor"}, weaker(rho_day=0.03)),
    "a policy with a larger delta": ({"policy.floor"}, weaker(delta=1e-5)),
    "a policy with a lower day threshold": ({"policy.floor"}, weaker(threshold_day=100)),
    "a policy with less noise": ({"policy.noise"}, weaker(sigma=9.0)),
    "a policy with less noise on the border": ({"policy.noise"}, weaker(sigma_border_day=30.0)),
    "a policy without its digest": (
        {"policy.digest"},
        lambda held: held.entries("policy")[0]["policy"].update(reason="x"),
    ),
    "a policy that hides the one before it": (
        {"policy.previous"},
        lambda held: held.entries("policy")[1].update(previous=None),
    ),
    "a policy in force from noon": ({"policy.boundary"}, a_policy_at_noon),
    "a policy written into a day that runs": ({"policy.boundary"}, a_policy_in_a_day_that_runs),
    "a token-day under another policy": (
        {"day.policy"},
        lambda held: held.entry("token-day", token_day=THIRD_DAY).update(
            policy_digest=held.entries("policy")[0]["policy_digest"]
        ),
    ),
    "a token-day opened twice": (
        {"day.once"},
        lambda held: held.insert(dict(held.entry("token-day", token_day=FIRST_DAY)), at=8),
    ),
    "a token-day inside another": ({"day.overlap"}, a_day_inside_a_day),
    "a token-day never opened": ({"day.known"}, drop("token-day", token_day=THIRD_DAY)),
    "a replay sold as live": ({"day.lineage"}, lambda held: held.ledger.update(mode="replay")),
    "less noise than the policy's": ({"charge.noise"}, charge(sigma=9.0)),
    "noise sold below its cost": ({"charge.noise"}, charge(rho="1/100")),
    "a smaller reach of one device": ({"charge.noise"}, charge(l2=1.0)),
    "a budget overspent": ({"charge.noise", "charge.share", "charge.day"}, charge(rho="3/100")),
    "a share that is no share": ({"charge.share"}, charge(rho_level=0.028)),
    "a level charged twice": (
        {"charge.once"},
        lambda held: held.insert(dict(held.entry("charge", token_day=FIRST_DAY, level="zone-hour")), at=4),
    ),
    "a draw without a charge": ({"release.charged"}, drop("charge", token_day=FIRST_DAY, level="sector-day")),
    "a charge after the draw": (
        {"release.charged"},
        lambda held: move_entry(held, held.entry("charge", token_day=FIRST_DAY, level="zone-hour"), 5),
    ),
    "a draw after the close": ({"release.closed"}, a_draw_after_the_close),
    "a second digest of a window": ({"release.once"}, a_second_digest),
    "a second file of a window": ({"file.twice", "file.recorded"}, a_second_file),
    "a window of half a day": (
        {"release.window"},
        lambda held: held.entry("release", level="zone-hour", window_start=FIRST_HOUR).update(
            window_end="2026-03-02T14:00:00Z"
        ),
    ),
    "an hour of another day": (
        {"release.window"},
        lambda held: held.entry("release", level="zone-hour", window_start=FIRST_HOUR).update(
            window_start="2026-03-01T02:00:00Z", window_end="2026-03-01T03:00:00Z"
        ),
    ),
    "an earlier hour drawn later": (
        {"release.order"},
        lambda held: move_entry(held, held.entry("release", level="zone-hour", window_start=FIRST_HOUR), 6),
    ),
    "fewer cells": (
        {"release.cells", "file.count"},
        lambda held: held.entry("release", level="zone-hour", window_start=FIRST_HOUR).update(cells=5),
    ),
    "words without a draw": ({"release.silent", "file.count"}, words_without_a_draw),
    "a release left out of the ledger": (
        {"file.recorded", "centre.extra"},
        drop("release", level="zone-hour", window_start=SECOND_HOUR),
    ),
    "a release for another carrier": (
        {"file.carrier"},
        lambda held: held.ledger.update(carrier="carrier-b"),
    ),
    "a release of another grid": (
        {"file.day"},
        in_release("zone-hour", FIRST_HOUR, lambda release: release.update(grid_id="sha256:" + "4" * 64)),
    ),
    "a release of another lineage": (
        {"file.day"},
        in_release("zone-hour", FIRST_HOUR, lambda release: release.update(lineage="live-other")),
    ),
    "a release that states less noise": (
        {"file.mechanism"},
        in_release("zone-hour", FIRST_HOUR, lambda release: release["mechanism"].update(sigma=9.0)),
    ),
    "a policy changed in the middle of a day": (
        {"file.mechanism"},
        in_release(
            "zone-hour", SECOND_HOUR, lambda release: release["mechanism"].update(policy_id="other", threshold=60)
        ),
    ),
    "a cell left out": (
        {"file.cells", "release.cells"},
        in_release("zone-hour", FIRST_HOUR, lambda release: release["counts"].pop()),
    ),
    "a size that tells something": (
        {"file.size"},
        in_release("zone-hour", FIRST_HOUR, lambda release: release.update(pad=release["pad"] + "0")),
    ),
    "a border that is not the sum of its sectors": (
        {"file.sum"},
        in_release("border-day", FIRST_DAY, lambda release: release["counts"][0].update(value=9999)),
    ),
    "more certainty than was drawn": (
        {"file.sigma"},
        in_release("sector-day", FIRST_DAY, lambda release: release["mechanism"].update(sigma=1.0)),
    ),
    "the tail cut off and the head made new": (
        {"file.recorded", "centre.extra"},
        lambda held: [held.ledger["entries"].pop() for _ in range(3)],
    ),
}


@pytest.mark.parametrize("planted", FORGED)
def test_a_forged_fault_is_named(sound: Held, tmp_path, planted: str) -> None:
    expected, plant = FORGED[planted]
    held = sound.copy()
    plant(held)
    held.reseal()
    code, broken, _ = outcome(held, tmp_path)
    assert code == 1
    assert expected <= broken
    assert not any(rule.startswith("chain.") for rule in broken), "the forger did make the chain whole"


def test_a_policy_that_is_announced_for_the_next_turn_is_no_fault(sound: Held, tmp_path) -> None:
    held = sound.copy()
    a_policy_announced(held)
    held.reseal()
    assert outcome(held, tmp_path)[:2] == (0, set())


def test_every_rule_has_a_fault_that_it_catches(sound: Held) -> None:
    caught = set().union(*(expected for expected, _ in [*CLUMSY.values(), *FORGED.values()]))
    elsewhere = {"chain.kept", "centre.once", "centre.budget", "centre.floor", "missing.file", "missing.centre"}
    assert set(VERIFY.RULES) == caught | elsewhere


# What only a second copy can show


def test_a_tail_cut_by_a_forger_shows_against_a_head_that_was_kept(sound: Held, tmp_path) -> None:
    held = sound.copy()
    del held.ledger["entries"][-4:]
    held.reseal()
    held.pages = []
    for name in list(held.releases)[-4:]:
        del held.releases[name]
    assert outcome(held, tmp_path)[:2] == (0, set()), "alone, it looks whole"
    assert outcome(held, tmp_path, "--head", sound.ledger["head"])[:2] == (1, {"chain.kept"})


def test_a_ledger_that_grew_still_holds_the_head_that_was_kept(sound: Held, tmp_path) -> None:
    kept = sound.ledger["entries"][9]["link"]
    assert outcome(sound, tmp_path, "--head", kept)[:2] == (0, set())


def test_a_release_that_is_missing_is_no_lie(sound: Held, tmp_path) -> None:
    held = sound.copy()
    del held.releases["zone-hour_20260304T06.json"]
    assert outcome(held, tmp_path)[:2] == (3, {"missing.file"})
    held = sound.copy()
    held.pages[0]["items"][0]["digests"].pop()
    assert outcome(held, tmp_path)[:2] == (3, {"missing.centre"})


def test_pages_that_do_not_reach_back_are_not_asked_for_more(sound: Held, tmp_path) -> None:
    held = sound.copy()
    held.pages = held.pages[:1]
    assert held.pages[0]["next_cursor"] is not None
    assert outcome(held, tmp_path)[:2] == (0, set())


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        ("centre.digest", lambda day: day["digests"][0].update(digest="sha256:" + "3" * 64)),
        ("centre.extra", lambda day: day["digests"][0].update(window_start="2026-03-09T02:00:00Z")),
        ("centre.once", lambda day: day["digests"].append({**day["digests"][0], "digest": "sha256:" + "3" * 64})),
        ("centre.budget", lambda day: day["levels"][0].update(rho=0.05)),
        ("centre.floor", lambda day: day["levels"][0].update(threshold=10)),
        ("centre.floor", lambda day: day["levels"][0].update(noise_sigma=2.0)),
    ],
)
def test_a_centre_that_says_something_else_is_named(sound: Held, tmp_path, rule: str, plant) -> None:
    held = sound.copy()
    plant(held.pages[0]["items"][0])
    code, broken, _ = outcome(held, tmp_path)
    assert code == 1
    assert rule in broken


# What cannot be read


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b'{"format": "tidemark-public-ledger/1", "format": "tidemark-public-ledger/1"}',
        b'{"format": NaN}',
        b'{"format": 1e999}',
        b"[" * 100_000,
        b'{"format": "another/1", "carrier": "a", "mode": "live", "head": "", "entries": []}',
        b'{"items": [{"carrier": "a"}]}',
    ],
)
def test_what_is_no_ledger_is_told_in_a_sentence_and_exit_code_2(tmp_path, text: bytes) -> None:
    (tmp_path / "ledger.json").write_bytes(text)
    answer = bare(str(tmp_path / "ledger.json"))
    assert (answer.returncode, answer.stderr) == (2, "")
    assert answer.stdout.startswith("UNREADABLE ")


def test_wrong_words_are_exit_code_2(tmp_path) -> None:
    assert bare().returncode == 2
    assert bare(str(tmp_path / "nowhere.json")).returncode == 2
    assert bare(str(tmp_path), "--head", "abc").returncode == 2


def leaves(node: object, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON document."""
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in leaves(value, (*path, key))]
    if isinstance(node, list):
        return [found for place, value in enumerate(node) for found in leaves(value, (*path, place))]
    return [path]


def replace(node, path: tuple, value: object) -> object:
    """Put a value at a path; the one that was there."""
    for part in path[:-1]:
        node = node[part]
    before, node[path[-1]] = node[path[-1]], value
    return before


OTHERS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.just([]), st.just({}), st.just("2026-03-02T02:00:00Z"), st.just("sha256:" + "0" * 64),
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_of_the_ledger_or_of_a_release_can_be_changed(sound: Held, tmp_path, data) -> None:
    held = sound.copy()
    held.pages = []
    part = data.draw(st.sampled_from(["ledger", "release"]))
    target = held.ledger if part == "ledger" else held.releases[data.draw(st.sampled_from(sorted(held.releases)))]
    path = data.draw(st.sampled_from(leaves(target)))
    value = data.draw(OTHERS)
    before = replace(target, path, value)
    if json.dumps(before) == json.dumps(value):
        return
    assert outcome(held, tmp_path)[0] in (1, 2)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_ledger_however_forged_stops_it_with_a_stack_trace(sound: Held, tmp_path, data) -> None:
    held = sound.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        target = data.draw(st.sampled_from([held.ledger["entries"], held.pages]))
        replace(target, data.draw(st.sampled_from(leaves(target))), data.draw(OTHERS))
    if data.draw(st.booleans()):
        try:
            held.reseal()
        except (TypeError, AttributeError, KeyError, UnicodeEncodeError):
            return
    assert outcome(held, tmp_path)[0] in (0, 1, 2, 3)
