"""The real application on a free loopback port, in a thread, until it is stopped."""

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

import uvicorn

from api.app import create_app
from api.settings import ApiSettings, Notice
from api.store import Store

STATIC = Path(__file__).resolve().parents[2] / "api" / "static"


class Served:
    """A store behind the application and its page; `stop` ends it as a fallen server would."""

    def __init__(
        self,
        store: Store,
        *,
        now: datetime,
        port: int = 0,
        sign_in: Literal["development", "closed"] = "development",
        notice: Notice | None = None,
    ) -> None:
        settings = ApiSettings(sign_in=sign_in, static_dir=STATIC, clock=lambda: now, notice=notice or Notice())
        config = uvicorn.Config(
            create_app(store, settings), host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the application did not start within 30 s")
            time.sleep(0.02)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join(timeout=15)
