"""Plain: the series that a request counts in when all goes as it should."""

from collections.abc import Mapping

from gateway.telemetry.instruments import Count, Spread


class Plain:
    """The series of requests of one route that are granted, charged and relayed; `relayed` has one
    for each class of statuses, by its first digit."""

    __slots__ = ("answer_bytes", "body_bytes", "granted", "relayed", "seconds", "settled")

    def __init__(
        self,
        granted: Count,
        settled: Count,
        relayed: Mapping[int, Count],
        seconds: Spread,
        body_bytes: Count,
        answer_bytes: Count,
    ) -> None:
        self.granted = granted
        self.settled = settled
        self.relayed = relayed
        self.seconds = seconds
        self.body_bytes = body_bytes
        self.answer_bytes = answer_bytes

    def request(self, status: int, seconds: float, body_bytes: int, answer_bytes: int) -> None:
        """One was answered."""
        self.relayed[status // 100].value += 1
        self.seconds.observe(seconds)
        self.body_bytes.value += body_bytes
        self.answer_bytes.value += answer_bytes
