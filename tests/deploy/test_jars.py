"""The jars' script: what Maven brings is used only as pinned, from a mirror if one is set, and once it is there, offline."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "deploy" / "kafka" / "jars.sh"
MAVEN = """#!/bin/sh
# Stands in for Maven: notes how it was called, brings one file.
printf '%s\\n' "$@" >"$NOTES/arguments"
for argument in "$@"; do
  case "$argument" in -DoutputDirectory=*) into=${argument#*=} ;; esac
done
if [ -e "$into/settings.xml" ]; then cp "$into/settings.xml" "$NOTES"; fi
echo jar >"$into/some.jar"
"""


@pytest.fixture
def fetch(tmp_path):
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(MAVEN)
    maven.chmod(0o755)

    def run(*arguments, **environment):
        path = f"{maven.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "NOTES": str(tmp_path), "TIDEMARK_CACHE": str(tmp_path / "cache"), **environment}
        return subprocess.run([str(SCRIPT), *arguments], env=own, capture_output=True, text=True, check=False)

    return run


def test_what_maven_brings_is_refused_unless_it_is_what_was_pinned(fetch, tmp_path):
    answer = fetch("connector")
    assert answer.returncode == 1
    assert "is not what" in answer.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_mirror_is_set_by_the_environment(fetch, tmp_path):
    fetch("connector", "--print-sums", TIDEMARK_MAVEN_MIRROR="https://mirror.invalid/a?b=1&c=2")
    assert "-gs" in (tmp_path / "arguments").read_text().splitlines()
    assert (
        "<mirrorOf>central</mirrorOf><url>https://mirror.invalid/a?b=1&amp;c=2</url>"
        in (tmp_path / "settings.xml").read_text()
    )


def test_without_a_mirror_mavens_own_settings_decide(fetch, tmp_path):
    answer = fetch("connector", "--print-sums")
    assert answer.stdout.split()[1:] == ["some.jar"]
    assert "-gs" not in (tmp_path / "arguments").read_text().splitlines()


def test_jars_that_are_there_as_pinned_need_no_maven(fetch, tmp_path):
    answer = fetch("connector", TIDEMARK_CACHE=os.environ.get("TIDEMARK_CACHE") or str(Path.home() / ".cache/tidemark"))
    if answer.returncode:  # a machine whose cache was never filled
        pytest.skip("the cache holds no connector yet")
    assert not (tmp_path / "arguments").exists()
