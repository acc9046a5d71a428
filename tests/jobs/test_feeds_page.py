"""docs/feeds.md is run: its files are written, its Python executed, its commands called and their output compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "feeds.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    return [(found["kind"], found["name"], found["text"]) for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]


def calls(text):
    """The commands of a console block, each with the lines that it says."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, said = part.partition("\n")
        yield command, [line.rstrip() for line in said.splitlines()]


def test_every_example_of_the_page_does_what_the_page_says(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names, called = {}, 0
    for kind, name, text in blocks():
        if kind == "python":
            script = subprocess.run(
                [sys.executable, "-c", "".join(names.setdefault("python", [])) + text],
                cwd=tmp_path,
                check=False,
                capture_output=True,
            )
            assert script.returncode == 0, script.stderr.decode()
            names["python"].append(text)
        elif kind == "console":
            for command, expected in calls(text):
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command],
                    cwd=tmp_path,
                    env={**os.environ, "PATH": path, "COLUMNS": "200"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, (command, done.stdout, done.stderr)
                said = [line.rstrip() for line in done.stdout.splitlines()]
                assert said == expected, command
                called += 1
        elif name is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
    assert called == 9


def test_the_page_names_every_format_and_every_reason():
    from ingest.attachment import Refusal
    from ingest.files import ENDINGS, FileFormat, FileRefusal

    text = PAGE.read_text(encoding="utf-8")
    for kind in FileFormat:
        assert f"`{kind.value}`" in text
        assert all(f"`{ending}`" in text for ending in ENDINGS[kind])
    of_values = {
        "event_type",
        "rat",
        "plmn",
        "cell_id",
        "cell_missing",
        "cell_on_roaming_row",
        "previous_plmn",
        "domain",
        "late",
    }
    for reason in {*Refusal, *FileRefusal} - of_values - {FileRefusal.GONE}:
        assert f"`{reason.value}`" in text, reason
