"""The policy file: stricter is free, weaker does not start, and it says who, when and why."""

import pytest

from privacy.policy import PolicyUnreadable, ReleasePolicy, WeakerPolicy, read_policy

HEAD = 'policy_id = "summer-1"\nproposed_by = "An"\napproved_by = "Binh"\ndated = 2026-03-01\nreason = "first season"\n'


def written(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_policy_file_is_read_with_who_when_and_why(tmp_path):
    policy = read_policy(written(tmp_path, HEAD + "threshold = 80\nsigma = 12\n"))
    assert (policy.threshold, policy.sigma, policy.rho_day) == (80, 12.0, 0.028)
    assert (policy.proposed_by, policy.approved_by, policy.dated) == ("An", "Binh", "2026-03-01")
    assert policy.document()["reason"] == "first season"


def test_the_same_policy_written_with_whole_numbers_has_the_same_digest(tmp_path):
    whole = read_policy(written(tmp_path, HEAD + "sigma = 12\n"))
    assert whole.digest == read_policy(written(tmp_path, HEAD + "sigma = 12.0\n")).digest


@pytest.mark.parametrize(
    ("line", "setting", "floor"),
    [
        ("threshold = 49", "policy.threshold is 49", "at least 50"),
        ("threshold_day = 149", "policy.threshold_day is 149", "at least 150"),
        ("sigma = 9.4", "policy.sigma is 9.4", "at least 9.449"),
        ("sigma_sector_day = 37.7", "policy.sigma_sector_day is 37.7", "at least 37.796"),
        ("sigma_border_day = 37.7", "policy.sigma_border_day is 37.7", "at least 37.796"),
        ("sigma = inf", "policy.sigma is inf", "at least 9.449"),
        ("rho_day = 0.029", "policy.rho_day is 0.029", "at most 0.028"),
        ("delta = 1e-5", "policy.delta is 1e-05", "at most 1e-06"),
        ("k = 3", "policy.k is 3", "1 to 2"),
    ],
)
def test_a_weaker_policy_is_refused_with_setting_value_and_floor(tmp_path, line, setting, floor):
    with pytest.raises(WeakerPolicy) as refused:
        read_policy(written(tmp_path, HEAD + line))
    assert setting in str(refused.value)
    assert floor in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD.replace('reason = "first season"\n', ""), "policy.reason"),
        (HEAD.replace('proposed_by = "An"\n', ""), "policy.proposed_by"),
        (HEAD.replace('"summer-1"', '""'), "policy.policy_id"),
        (HEAD + "thresold = 80", "a key that no policy has"),
        (HEAD + "threshold = 80.5", "policy.threshold"),
        (HEAD + 'sigma = "12"', "policy.sigma"),
        (HEAD + "k = true", "policy.k"),
        (HEAD + "threshold = ", "TOML"),
        (HEAD.replace('"summer-1"', '"summer 1"'), "policy.policy_id"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_by_its_key(tmp_path, text, told):
    with pytest.raises(PolicyUnreadable, match=told):
        read_policy(written(tmp_path, text))


def test_a_device_moves_a_day_level_further_than_the_hours():
    policy = ReleasePolicy()
    from ingest.release import Level

    assert [round(policy.l2_at(level) ** 2) for level in Level] == [4, 8, 8]
    assert sum(policy.rho_at(level) for level in Level) == pytest.approx(policy.rho_day)
