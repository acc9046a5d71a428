"""Stories about what the page is made of: files that are here, whole, small, and know no other host."""

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "api" / "static"
VENDOR = STATIC / "vendor"

BASEMAP = ("borders.geojson", "land.geojson", "names.geojson", "water.geojson")
MOST_BYTES_OF_ALL = 4_000_000
MOST_BYTES_OF_ONE = 1_500_000


def vendored_sums() -> dict[str, str]:
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}


def test_vendored_files_are_those_that_were_copied_and_no_others() -> None:
    found = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == vendored_sums()


def test_every_vendored_package_is_pinned_and_brings_its_licence() -> None:
    packages = json.loads((ROOT / "deploy" / "vendor" / "vendor.json").read_text())["packages"]
    copied = {to for package in packages for to in package["files"].values()}
    assert copied == set(vendored_sums())
    for package in packages:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])
        assert any(Path(to).name.startswith("LICENSE") for to in package["files"].values())


def test_every_layer_of_the_basemap_says_where_it_comes_from() -> None:
    for name in BASEMAP:
        layer = json.loads((STATIC / "basemap" / name).read_text(encoding="utf-8"))
        assert layer["attribution"]
        assert layer["licence"]
        assert layer["features"]
    assert {path.name for path in (STATIC / "basemap").glob("*.geojson")} == set(BASEMAP)


def test_the_page_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in STATIC.rglob("*") if path.is_file()}
    assert max(sizes.values()) < MOST_BYTES_OF_ONE
    assert sum(sizes.values()) < MOST_BYTES_OF_ALL


def test_our_own_files_name_no_other_host_and_hold_no_inline_script_or_style() -> None:
    own = [path for path in STATIC.rglob("*") if path.suffix in {".html", ".js", ".css"} and VENDOR not in path.parents]
    assert len(own) > 8
    for path in own:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"\bhttps?://|\b//[a-z]", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path.name
        )
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_every_word_that_the_page_says_is_in_the_language_file() -> None:
    english = set(
        re.findall(r'^  "([^"]+)":', (STATIC / "locales" / "en.js").read_text(encoding="utf-8"), re.MULTILINE)
    )
    said = set(re.findall(r'data-(?:text|label)="([^"]+)"', (STATIC / "index.html").read_text(encoding="utf-8")))
    for path in (STATIC / "page").glob("*.js"):
        said |= set(re.findall(r'\bsay\("([\w.]+)"', path.read_text(encoding="utf-8")))
    missing = {key for key in said if key not in english and f"{key}.other" not in english}
    assert missing == set()
    assert len(said) > 50
