"""Stories of the API's own description."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from api import answers, examples
from api.alert import Alert
from api.openapi import openapi_document, openapi_text
from api.store import Store
from ingest.release import Release
from tests.api.builders import a_client

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def operations() -> list[dict[str, Any]]:
    return [operation for path in openapi_document()["paths"].values() for operation in path.values()]


def test_the_committed_description_is_the_one_that_is_served() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == openapi_text(), "run: python -m api.openapi > docs/openapi.json"


def test_the_description_is_served_without_the_development_routes(store: Store) -> None:
    served = a_client(store).get("/v1/openapi.json").json()
    assert served == openapi_document()
    assert served["openapi"].startswith("3.1")
    assert not [path for path in served["paths"] if path.startswith("/dev")]


def test_every_operation_has_a_name_a_reader_and_an_example() -> None:
    names = [operation["operationId"] for operation in operations()]
    assert len(set(names)) == len(names)
    for operation in operations():
        assert operation["tags"]
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                assert "schema" in content
                assert "example" in content or "examples" in content, (operation["operationId"], status)


def test_every_refusal_is_described_as_a_problem() -> None:
    for operation in operations():
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"]


def test_no_reference_leads_nowhere() -> None:
    document = openapi_document()

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for part in node for found in references(part)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for part in node.values() for found in references(part)]
        return []

    wanted = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert wanted <= set(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (answers.AlertPage, examples.ALERT_PAGE),
        (answers.AlertAnswer, examples.ALERT_ANSWER),
        (Alert, examples.ACKNOWLEDGED),
        (Alert, examples.CLOSED),
        (answers.CountPage, examples.COUNT_PAGE),
        (answers.EstimateAnswer, examples.ESTIMATE_ANSWER),
        (answers.ExpectationPage, examples.EXPECTATION_PAGE),
        (answers.ZoneCollection, examples.ZONE_COLLECTION),
        (answers.LedgerPage, examples.LEDGER_PAGE),
        (answers.ReceiptAnswer, examples.RECEIPT),
        (Release, examples.RELEASE),
    ],
)
def test_the_examples_keep_their_contracts(model: type[BaseModel], example: dict[str, Any]) -> None:
    assert model.model_validate(example)


def test_there_is_no_page_that_loads_from_elsewhere(store: Store) -> None:
    client = a_client(store)
    assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
