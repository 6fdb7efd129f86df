"""Subjects: which part of an account a request's usage is attributed to."""

ID_MAX = 256
"""Characters of an id; a route may allow fewer."""


def is_subject_id(candidate: object, most: int = ID_MAX) -> bool:
    """Printable text that is not empty, and that UTF-8 can say."""
    return isinstance(candidate, str) and 1 <= len(candidate) <= most and candidate.isprintable()
