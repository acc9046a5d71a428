"""Push: bring the outbox to the centre, in order, as often as it takes; the same release twice changes nothing."""

import json
from typing import Any
from urllib.parse import urlsplit

import httpx2

from jobs.disk import write_whole
from jobs.left import note_left
from jobs.settings import EdgeSettings
from jobs.stop import leave_to_speak, refuse_when_stopped
from jobs.tables import EdgeFolder

_JSON = {"content-type": "application/json"}
_NO_ANSWER = "the centre does not answer; what it has not taken waits in the outbox"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class PushRefused(RuntimeError):
    """Nothing can be pushed as things stand; says why."""


def push_releases(settings: EdgeSettings, credential: str | None) -> dict[str, Any]:
    """Push what has no receipt yet; stops at the first release that the centre does not take.

    Without a credential only a centre on this very machine is tried, by its development sign-in. Raises EdgeStopped
    while the stop switch is on.
    """
    if settings.centre_url is None:
        raise PushRefused("edge.centre_url: the centre to push to is not set")
    centre_at = urlsplit(settings.centre_url)
    if centre_at.scheme != "https" and centre_at.hostname not in LOOPBACK:
        raise PushRefused("edge.centre_url: a centre on another machine is reached by https only")
    folder = EdgeFolder(settings.state)
    refuse_when_stopped(settings.state)
    receipts = settings.state / "receipts"
    waiting = [path for path in sorted(folder.releases.glob("*.json")) if not (receipts / path.name).exists()]
    pushed, refused = 0, None
    with httpx2.Client(base_url=settings.centre_url, timeout=30) as centre:
        for path in waiting:
            content = path.read_bytes()
            with leave_to_speak(settings.state):
                headers = {"authorization": f"Bearer {credential or _development(centre, settings)}"}
                try:
                    answer = centre.post("/v1/releases", content=content, headers={**headers, **_JSON})
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    raise PushRefused(_NO_ANSWER) from None
                except httpx2.TransportError:
                    note_left(settings.state, _digest(content), to=settings.centre_url)  # it may have arrived
                    raise PushRefused(_NO_ANSWER) from None
                # Refused or not, it has left: the centre has seen it.
                note_left(settings.state, _digest(content), to=settings.centre_url)
            if answer.status_code not in (200, 201):
                refused = {"release": path.name, "status": answer.status_code, "problem": _problem(answer)}
                break
            write_whole(receipts / path.name, answer.content)
            pushed += 1
    return {"waiting": len(waiting), "pushed": pushed, "refused": refused}


def _development(centre: httpx2.Client, settings: EdgeSettings) -> str:
    if urlsplit(str(settings.centre_url)).hostname not in LOOPBACK:
        raise PushRefused("a credential is needed: --credential or TIDEMARK_CREDENTIAL")
    try:
        answer = centre.post("/dev/sign-in", json={"role": f"carrier:{settings.carrier}"})
    except httpx2.TransportError:
        raise PushRefused(_NO_ANSWER) from None
    if answer.status_code != 200:
        raise PushRefused("the centre has no development sign-in: a credential is needed")
    return str(answer.json()["credential"])


def _digest(release: bytes) -> str:
    return str(json.loads(release).get("digest"))


def _problem(answer: httpx2.Response) -> str:
    try:
        return str(answer.json().get("title", ""))
    except ValueError:
        return ""
