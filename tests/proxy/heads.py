"""Takes heads apart again, for tests of what was put together."""

Field = tuple[bytes, bytes]


def fields(head: bytes) -> list[Field]:
    """The fields of a head; asserts that it is one head and nothing more."""
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")[1:]
    assert b"" not in lines
    found = []
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon, line
        found.append((name, value))
    return found


def values(head: bytes, name: bytes) -> list[bytes]:
    return [value for key, value in fields(head) if key.lower() == name]
