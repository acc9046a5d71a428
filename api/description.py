"""How the API describes itself: FastAPI's OpenAPI 3.1 document, with what it leaves out put back."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.answers import ProblemAnswer
from api.problems import MEDIA_TYPE


def describe(app: FastAPI, routes: list[APIRoute]) -> dict[str, Any]:
    """The OpenAPI document of an application's routes.

    FastAPI drops nulls from examples, where `value: null` is the very thing to show, and knows nothing of problems.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["ProblemAnswer"] = problem
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path][method.lower()]
            for status, response in route.responses.items():
                for media_type, content in response.get("content", {}).items():
                    if media_type != MEDIA_TYPE:
                        operation["responses"][str(status)]["content"][media_type]["example"] = content["example"]
            if route.openapi_extra:
                body = route.openapi_extra["requestBody"]["content"]["application/json"]["example"]
                operation["requestBody"]["content"]["application/json"]["example"] = body
    return document
