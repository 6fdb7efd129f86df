"""The access key id of a request signed with AWS Signature Version 4, in its header or its query.

It says who the request claims to be; whether that is true, only the upstream can check. So the
gateway must read the same id as the upstream: what could hide a second one is refused.

Source: AWS General Reference, "Authenticating Requests (AWS Signature Version 4)", with
`Authorization: AWS4-HMAC-SHA256 Credential=AKID/date/region/service/aws4_request, …` and the
presigned `X-Amz-Credential`. Version 2 (`AWS AKID:signature`, `AWSAccessKeyId=`) is not taken.
"""

import re
from urllib.parse import unquote_plus

from gateway.admission.head import Head
from gateway.errors import BAD_HEADER, BAD_REQUEST, UNAUTHENTICATED, Refusal

_SCHEME = b"AWS4-HMAC-SHA256"
_SCOPE = re.compile(r"([A-Za-z0-9._~+=-]{1,128})/[0-9]{8}/[^/]{1,64}/[^/]{1,64}/aws4_request")
_CREDENTIAL = "X-Amz-Credential"


def access_key_id(head: Head) -> str | Refusal | None:
    """None if the request is not signed this way at all."""
    presigned = _from_query(head.query)
    authorization = head.get(b"authorization")
    if authorization is None or isinstance(presigned, Refusal):
        return presigned
    signed = _from_header(authorization)
    if presigned is not None and signed is not None:
        return Refusal(BAD_REQUEST, "the request is signed in its header and in its query")
    return presigned or signed


def is_signed(head: Head) -> bool:
    """True if the Authorization header is a signature of this kind."""
    return (head.get(b"authorization") or b"").startswith(_SCHEME + b" ")


def _from_header(authorization: bytes) -> str | Refusal | None:
    scheme, _, rest = authorization.partition(b" ")
    if scheme == b"AWS":
        return Refusal(UNAUTHENTICATED, "AWS Signature Version 2 is not accepted")
    if scheme != _SCHEME:
        return None
    given: dict[str, str] = {}
    for part in rest.decode("latin-1").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() in given:
            return Refusal(BAD_HEADER, "the Authorization header says something twice")
        given[name.lower()] = value
    return _in_scope(given.get("credential", ""))


def _from_query(query: str) -> str | Refusal | None:
    """Names are compared decoded and in any case, so that no spelling hides a second one."""
    if "amz" not in query.lower() and "%" not in query and "AWSAccessKeyId" not in query:
        return None
    found: list[tuple[str, str]] = []
    for part in re.split("[&;]", query):
        name, _, value = part.partition("=")
        plain = unquote_plus(name)
        if plain == "AWSAccessKeyId":
            return Refusal(UNAUTHENTICATED, "AWS Signature Version 2 is not accepted")
        if plain.lower() == _CREDENTIAL.lower():
            found.append((name, value))
    if not found:
        return None
    if len(found) > 1 or found[0][0] != _CREDENTIAL:
        return Refusal(BAD_REQUEST, f"the query has more than one reading of {_CREDENTIAL}")
    return _in_scope(unquote_plus(found[0][1]))


def _in_scope(credential: str) -> str | Refusal:
    found = _SCOPE.fullmatch(credential)
    if found is None:
        return Refusal(BAD_REQUEST, "the credential of the AWS signature is malformed")
    return found[1]
