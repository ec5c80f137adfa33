"""What keeps the site to itself: the headers that every answer has.

The site's pages have no scripts and load nothing from elsewhere. A report has scripts, and is made
of what peers have sent: the browser keeps it in a sandbox, from where it cannot read the site.
"""

from __future__ import annotations

from flask import Response

HOSTS = ("127.0.0.1", "localhost")
"""Names of the site. Any other is refused, so that no other site reaches this one by a name of its
own (DNS rebinding)."""
_SITE = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGE = (
    "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads "
    "allow-modals; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _SITE,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(response: Response) -> Response:
    """Add the headers that are not there yet."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def sandbox(response: Response) -> Response:
    """Let a page run its scripts, apart from the site."""
    response.headers["Content-Security-Policy"] = _PAGE
    return response
