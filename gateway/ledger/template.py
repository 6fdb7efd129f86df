"""Templates: a script's call encoded once, with holes for what differs from request to request.

Where the holes are is found out, not written down: the call is made with two sets of samples, and
each word that differs must be one of them. So only the verbs know how their scripts are called.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from gateway.ledger.resp import script_call
from gateway.ledger.scripts import Script

Words = tuple[Sequence[bytes], Sequence[bytes]]
"""Keys and arguments."""

_MARK = b"\r\n\0\r\n"
"""Stands in no key and in no argument."""


class Template:
    """`call(values)` is a call; `values` stand in the order of the samples."""

    __slots__ = ("_args", "_format", "_pick", "_places", "keys", "script")

    def __init__(
        self,
        script: Script,
        made: Callable[[Sequence[bytes]], Words],
        samples: tuple[Sequence[bytes], Sequence[bytes]],
    ) -> None:
        """`made` makes the call for some values; AssertionError when it does more with them than
        to pass each on as a word of its own."""
        (keys, args), (other_keys, other_args) = (made(sample) for sample in samples)
        assert keys == other_keys, "keys do not depend on values"
        assert len(args) == len(other_args), "the number of words does not depend on values"
        self.script = script
        self.keys = tuple(keys)
        self._args = tuple(args)
        self._places = tuple(_places(args, other_args, samples))
        marked = list(args)
        for at, _ in self._places:
            marked[at] = _MARK
        packed = script_call(b"EVALSHA", script.sha, keys, marked).replace(b"%", b"%%")
        self._format = packed.replace(b"$%d\r\n%b\r\n" % (len(_MARK), _MARK), b"%b")
        numbers = [number for _, number in self._places]
        self._pick = itemgetter(*numbers) if len(numbers) > 1 else lambda found: (found[0],)

    def packed(self, values: Sequence[bytes]) -> bytes:
        """The command as it goes over the wire; the values are `bulk` strings."""
        return self._format % self._pick(values)

    def words(self, values: Sequence[bytes]) -> Words:
        """Keys and arguments, for a transport that encodes by itself."""
        args = list(self._args)
        for at, number in self._places:
            args[at] = values[number].partition(b"\r\n")[2][:-2]
        return self.keys, args


def bulk(word: bytes) -> bytes:
    """A word as RESP has it."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


class Call:
    """One call of a template, ready for a transport of either kind; the values are `bulk`."""

    __slots__ = ("template", "values")

    def __init__(self, template: Template, values: Sequence[bytes]) -> None:
        self.template = template
        self.values = values

    def packed(self) -> bytes:
        return self.template.packed(self.values)

    def words(self) -> Words:
        return self.template.words(self.values)


def _places(
    args: Sequence[bytes],
    other_args: Sequence[bytes],
    samples: tuple[Sequence[bytes], Sequence[bytes]],
) -> Iterator[tuple[int, int]]:
    """Where a value stands among the arguments, and which."""
    numbers = {pair: number for number, pair in enumerate(zip(*samples, strict=True))}
    for at, pair in enumerate(zip(args, other_args, strict=True)):
        if pair[0] != pair[1]:
            number = numbers.get(pair)
            assert number is not None, f"argument {at} is not a value as it was given: {pair}"
            yield at, number
