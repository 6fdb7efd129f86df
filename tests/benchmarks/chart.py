"""The chart: what each peer costs beside the reference of its case, on one logarithmic axis.

Drawn by hand as SVG without a background, in colours that show on light pages and on dark ones.
"""

import math
from collections.abc import Iterator, Sequence

from tests.benchmarks.measure import BY_NAME, Metric
from tests.benchmarks.ratios import ratio
from tests.benchmarks.results import CaseResult, Results

INK, FAINT = "#7d8590", "#7d859055"
COLOURS = {
    "gateway": "#e5534b",
    "nginx": "#3fa45b",
    "haproxy": "#4184e4",
    "envoy": "#b083f0",
}
TITLES = {"gateway": "gateway", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy"}
LEFT, RIGHT, TOP, ROW, WIDTH = 300, 30, 64, 26, 900
LEAST, MOST = 0.125, 8.0
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8)


def drawn(results: Results) -> str:
    """Bars of the gateway and marks of the others, a row for each case."""
    rows = [case for case in results.cases if case.reference in case.runs]
    height = TOP + ROW * len(rows) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">',
        "<title>CPU beside the reference: further right is cheaper</title>",
        *_legend(rows),
        *_axis(len(rows)),
    ]
    for number, case in enumerate(rows):
        lines += _row(case, TOP + ROW * number + ROW / 2)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _legend(rows: Sequence[CaseResult]) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="16">How many times as cheap in CPU as its reference (= 1)</text>'
    present = {_kind(name) for case in rows for name in case.runs}
    x = LEFT
    for kind, colour in COLOURS.items():
        if kind in present:
            yield f'<circle cx="{x + 6}" cy="34" r="5" fill="{colour}"/>'
            yield f'<text x="{x + 16}" y="38">{TITLES[kind]}</text>'
            x += 110


def _axis(count: int) -> Iterator[str]:
    bottom = TOP + ROW * count
    for tick in TICKS:
        x = place(tick)
        colour = INK if tick == 1 else FAINT
        yield f'<path d="M{x:.1f} {TOP - 8}V{bottom}" stroke="{colour}" fill="none"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'


def _row(case: CaseResult, y: float) -> Iterator[str]:
    metric = BY_NAME["busy_s_gib" if case.bulk else "cpu_us"]
    yield (
        f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{case.title}'
        f'<tspan fill-opacity="0.7"> / {case.reference}</tspan></text>'
    )
    found = list(_found(case, metric))
    for kind, value in found:
        if kind == "gateway":
            one, x = place(1), place(value)
            yield (
                f'<rect x="{min(one, x):.1f}" y="{y - 7:.1f}" width="{abs(x - one):.1f}" '
                f'height="14" fill="{COLOURS[kind]}" fill-opacity="0.35"/>'
            )
    for kind, value in found:
        yield (
            f'<circle cx="{place(value):.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[kind]}">'
            f"<title>{TITLES[kind]}: {value:.2f}</title></circle>"
        )


def _found(case: CaseResult, metric: Metric) -> Iterator[tuple[str, float]]:
    for name, runs in case.runs.items():
        kind = _kind(name)
        value = ratio(metric, runs, case.runs[case.reference])
        if name != case.reference and kind in COLOURS and value is not None:
            yield kind, value


def _kind(name: str) -> str:
    """What a peer is drawn as: nginx tuned or not is nginx. Variants of the gateway are not."""
    return {"nginx-tuned": "nginx", "haproxy-splice": "haproxy"}.get(name, name)


def place(value: float) -> float:
    """Where on the axis; what lies beyond it is drawn at its end."""
    held = min(max(value, LEAST), MOST)
    share = math.log(held / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)
