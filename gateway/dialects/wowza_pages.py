"""The pages of the Wowza Video dialect, as the models that the dialect builds them by."""

from typing import TypedDict

Limits = TypedDict("Limits", {"from": str, "to": str})


class Viewing(TypedDict):
    viewing_seconds: int
    avg_viewing_seconds: float
    viewing_bytes: int


class Egress(TypedDict):
    egress_seconds: int
    egress_seconds_additional_targets: int
    egress_bytes: int


class Trend(TypedDict):
    sampled_at: str
    viewing_seconds: int
    viewing_bytes: int


class AccountUsage(Viewing, Egress):
    """What an account used in a range; its trend is drawn by hours, or by days if it is long."""

    id: str
    trend: list[Trend]


class Viewed(Viewing):
    """A stream target or a VOD stream, and what was viewed of it."""

    id: str
    name: str
    archived: bool
    type: str


class StreamUsage(TypedDict):
    """A real-time stream: what went in and out."""

    id: str
    name: str
    bytes_in: int
    bytes_out: int


class TranscoderUsage(Egress):
    """A transcoder, and what it sent out."""

    id: str
    name: str
    archived: bool
    transcoder_type: str
    billing_mode: str


class ByCursor(TypedDict):
    """`next_page_key` asks for the next page; null: this was the last one."""

    payload_version: float
    total_records: int
    per_page: int
    next_page_key: str | None
    total_pages: int


class ByNumber(TypedDict):
    payload_version: float
    page: int
    page_first_index: int
    page_last_index: int
    per_page: int
    total_pages: int
    total_records: int


class _Page(TypedDict):
    limits: Limits


class AccountsPage(_Page):
    accounts: AccountUsage


class AccountPage(_Page):
    account: AccountUsage


class TargetsPage(_Page):
    stream_targets: list[Viewed]
    pagination: ByCursor


class TargetPage(_Page):
    stream_target: Viewed


class VodsPage(_Page):
    vod_streams: list[Viewed]
    pagination: ByCursor


class VodPage(_Page):
    vod_stream: Viewed


class SummaryPage(_Page):
    summary: Viewing


class StreamsPage(_Page):
    real_time_streams: list[StreamUsage]
    pagination: ByCursor


class TranscodersPage(_Page):
    transcoders: list[TranscoderUsage]
    pagination: ByNumber


class TranscoderPage(_Page):
    transcoder: TranscoderUsage


class PeakPage(_Page):
    """The most bytes that were held at any one moment of the range."""

    bytes: int


class Meta(TypedDict):
    status: int
    code: str
    title: str
    message: str
    description: str
    links: list[str]


class WowzaFailure(TypedDict):
    """What is wrong; `code` says what exactly."""

    meta: Meta
