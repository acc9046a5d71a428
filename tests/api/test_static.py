"""Stories of the page's files."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.store import Store
from tests.api.builders import a_client


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    folder = tmp_path / "static"
    (folder / "vendor").mkdir(parents=True)
    (folder / "index.html").write_text("<title>Tidemark</title>")
    (folder / "vendor" / "map.mjs").write_text("export {}")
    (folder / "basemap.pmtiles").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "outside.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    return a_client(store, static_dir=folder)


def test_the_page_is_served_at_the_root_with_its_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.text) == (200, "<title>Tidemark</title>")
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_module_is_served_as_a_script(client: TestClient) -> None:
    assert client.get("/vendor/map.mjs").headers["content-type"].split(";")[0] in {
        "text/javascript",
        "application/javascript",
    }


def test_a_part_of_the_basemap_can_be_asked_for(client: TestClient) -> None:
    answer = client.get("/basemap.pmtiles", headers={"Range": "bytes=256-259"})
    assert (answer.status_code, answer.content) == (206, b"\x00\x01\x02\x03")
    assert answer.headers["content-range"] == "bytes 256-259/1024"


def test_the_page_does_not_hide_what_the_api_says(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/alerts/a-1/close").status_code == 405
    assert client.post("/v1/zones").status_code == 405
    assert client.post("/").status_code == 405


@pytest.mark.parametrize("path", ["/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/link.txt", "/no.js"])
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_file_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/vendor/map.mjs")
    assert client.get("/vendor/map.mjs", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
