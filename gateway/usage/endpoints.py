"""The usage endpoints: an account asks how it stands, in the words of one vendor or our own.

They answer from the counters that enforce, and change nothing. One file for each dialect's pages:
it gathers what a page tells, and the dialect says it.
"""

from collections.abc import Mapping

from gateway.dialects.protocol import Answer
from gateway.errors import METHOD_NOT_ALLOWED, Refusal
from gateway.usage import cloudflare, native, stashfyle, tornado, wowza
from gateway.usage.request import Page, Sources, UsageRequest

METHODS = ("GET", "HEAD")

PAGES: Mapping[str, Mapping[str, Page]] = {
    "native": native.PAGES,
    "tornado": tornado.PAGES,
    "stashfyle": stashfyle.PAGES,
    "cloudflare": cloudflare.PAGES,
    "wowza": wowza.PAGES,
}
"""Dialect → page → what answers it; the catalog knows the same names."""


async def answer(dialect: str, request: UsageRequest, sources: Sources) -> Answer:
    """Raises StoreError."""
    if request.method not in METHODS:
        allowed = ", ".join(METHODS)
        refusal = Refusal(METHOD_NOT_ALLOWED, f"allowed: {allowed}", {"Allow": allowed})
        return request.dialect.refusal(refusal, request.request_id)
    return await PAGES[dialect][request.page](request, sources)
