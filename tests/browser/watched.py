"""What a page does behind the scenes: whom it asks, what it complains of, what the policy stops."""

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page

_NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error("CSP violation:", event.effectiveDirective, event.blockedURI);
});
"""


class Watched:
    """A page and everything that it asked for or complained of since."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.add_init_script(_NOTE_VIOLATIONS)
        page.context.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def outside(self, url: str) -> list[str]:
        """The requests that went anywhere but to the server at `url`; what stays in the page (data, blob) goes nowhere."""
        own = urlsplit(url).netloc
        asked = [urlsplit(request) for request in self.requests]
        return [one.geturl() for one in asked if one.scheme not in ("data", "blob") and one.netloc != own]
