"""The API's own description, as committed: `python -m api.openapi > docs/openapi.json`."""

import json
import sys
from pathlib import Path
from typing import Any

from api.app import assemble
from api.settings import ApiSettings


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, without the routes that exist in development only."""
    return assemble(ApiSettings(static_dir=Path("no-static-files"))).openapi()


def openapi_text() -> str:
    """The document as it is committed."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
