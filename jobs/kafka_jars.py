"""The jars of Spark's Kafka connector: no Python package ships them, so they lie in a cache that Maven fills once.

`deploy/kafka/connector.sh` fills it; `kafka_jars.sha256` beside this file says what Spark may load, byte for byte.
"""

import hashlib
import os
import re
from importlib import resources
from pathlib import Path

_PINS = "kafka_jars.sha256"


class ConnectorMissing(RuntimeError):
    """Spark's Kafka connector is not there, or is not what was pinned; says how to get it."""


def connector_jars() -> list[Path]:
    """The connector's jars in the cache, each checked against its digest; raises ConnectorMissing.

    The cache is TIDEMARK_CACHE, or `~/.cache/tidemark`. Hand them to Spark as `spark.jars`.
    """
    pins = _pins()
    folder = cache_folder() / f"spark-kafka-{_connector_version(pins)}"
    jars = []
    for name, digest in pins.items():
        jar = folder / name
        if not jar.is_file():
            raise ConnectorMissing(
                f"Spark's Kafka connector is not in the cache: {name} is missing. Run deploy/kafka/connector.sh "
                "(it needs Maven), or set TIDEMARK_CACHE to a cache that it has filled."
            )
        with jar.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                raise ConnectorMissing(
                    f"{name} in the cache is not the file that was pinned; delete it and run "
                    "deploy/kafka/connector.sh again."
                )
        jars.append(jar)
    return jars


def cache_folder() -> Path:
    """Where jars are kept between runs."""
    named = os.environ.get("TIDEMARK_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "tidemark"


def _pins() -> dict[str, str]:
    """Name -> SHA-256, as `sha256sum` writes them."""
    lines = (resources.files("jobs") / _PINS).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def _connector_version(pins: dict[str, str]) -> str:
    names = [re.fullmatch(r"spark-sql-kafka-0-10_2\.13-(.+)\.jar", name) for name in pins]
    return next(found.group(1) for found in names if found)
