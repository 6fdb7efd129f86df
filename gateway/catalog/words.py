"""The small shapes that several tables of the configuration are made of."""

from gateway.catalog import patterns
from gateway.catalog.shapes import Text, Written

DAY_MS = 86_400_000

NAME = Text(
    "a name of up to 64 letters, digits and . _ - that begins with a letter or digit",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
)
METER = Text(
    "a name of up to 48 lower-case letters, digits and _ that begins with a letter",
    r"^[a-z][a-z0-9_]{0,47}$",
)
MEMBER = Text(
    'a member of a JSON document such as "status" or "result.uid"',
    r"^[A-Za-z0-9_$-]{1,64}(\.[A-Za-z0-9_$-]{1,64}){0,7}$",
)
HEADER = Text("the name of a header", r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
PATH = Written(patterns.path, 'a path such as "/files/{name...}"', patterns.PATTERN_PATTERN)
TEMPLATE = Written(
    patterns.template, 'a template such as "files/{name}"', patterns.TEMPLATE_PATTERN
)
