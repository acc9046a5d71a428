"""What every API request passes: JSON is read strictly, and a query parameter that is not known is refused."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.intake import Fault, ReleaseRefused, parse_json
from api.problems import Problem


class StrictRequest(Request):
    """A request whose JSON has no key twice and no NaN."""

    async def json(self) -> Any:
        """The body's JSON."""
        body = await self.body()
        try:
            return parse_json(body)
        except ReleaseRefused as refusal:
            raise Problem(refusal.reason) from None


class StrictRoute(APIRoute):
    """A route that refuses unknown and repeated query parameters and bodies that are not JSON.

    A parameter that is silently ignored is a filter that a caller believes in.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind these checks."""
        handle = super().get_route_handler()
        known = {field.alias for field in self.dependant.query_params}
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            _hold_parameters(request, known)
            if takes_body:
                kind = request.headers.get("content-type", "").partition(";")
                if kind[0].strip().lower() != "application/json" or "utf-16" in kind[2].lower():
                    raise Problem("unsupported_media_type")
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _hold_parameters(request: Request, known: set[str]) -> None:
    given = Counter(name for name, _ in request.query_params.multi_items())
    if not given.keys() <= known:
        raise Problem("unknown_parameter", Fault("query", "unknown_parameter"))
    repeated = sorted(name for name, times in given.items() if times > 1)
    if repeated:
        raise Problem("repeated_parameter", *(Fault(f"query:{name}", "given once") for name in repeated))
