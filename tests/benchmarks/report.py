"""Reports: tables of what was found, for a terminal and for the README."""

from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.bars import BARS
from tests.benchmarks.measure import BY_NAME, Metric
from tests.benchmarks.ratios import middle, ratio, spread
from tests.benchmarks.results import CaseResult, Results

KIB = 1024
NEWLINE = "\n"
SMALL = ("cpu_us", "rps", "p50_us", "p99_us", "redis_us")
BULK = ("cpu_s_gib", "busy_s_gib", "rps")


def terminal(results: Results) -> str:
    lines = [f"{name}: {said}" for name, said in results.about.items()]
    lines += [f"{name}: {said}" for name, said in results.peers.items()]
    lines += [f"{name}: not measured, {said} is missing" for name, said in results.missing.items()]
    lines.append(
        f"medians of {results.rounds} rounds; x says how many times as good as the reference"
    )
    for case in results.cases:
        lines += ["", *_case_table(case)]
    if results.memory:
        lines += ["", *_memory_table(results)]
    lines += ["", *_bars_table(results)]
    return "\n".join(lines) + "\n"


def _case_table(case: CaseResult) -> Iterator[str]:
    metrics = [BY_NAME[name] for name in (BULK if case.bulk else SMALL)]
    head = [f"{case.title} (x {case.reference})"]
    for metric in metrics:
        head += [f"{metric.title}, {metric.unit}", "x"]
    head += ["CPU from..to", "errors"]
    rows = [head]
    for name, runs in case.runs.items():
        row = [name]
        for metric in metrics:
            row += [_figure(middle(metric, runs)), _ratio(metric, case, name)]
        low, high = spread(metrics[0], runs)
        errors = sum(run.errors for run in runs)
        rows.append([*row, f"{_figure(low)}..{_figure(high)}", str(errors or "")])
    yield from aligned(rows)
    for name, wrong in case.failed.items():
        yield f"{name}: {wrong.partition(NEWLINE)[0]}"


def _memory_table(results: Results) -> Iterator[str]:
    rows = [["memory (PSS), KiB", "base", "per idle connection", "per slow upload"]]
    for name, memory in results.memory.items():
        figures = (memory.base, memory.per_idle, memory.per_slow)
        rows.append([name, *(f"{figure / KIB:.1f}" for figure in figures)])
    return aligned(rows)


def _bars_table(results: Results) -> Iterator[str]:
    rows = [["bar", "must", "aim", "found", ""]]
    for bar in BARS:
        value = bar.found(results)
        sign = "≥" if bar.at_least else "≤"
        row = [bar.title, f"{sign} {bar.must:g}", "" if bar.aim is None else f"{sign} {bar.aim:g}"]
        rows.append([*row, *(["-", ""] if value is None else [f"{value:.2f}", bar.verdict(value)])])
    return aligned(rows)


def markdown(results: Results) -> str:
    """The tables of the README: ratios only, since times are of one machine; memory is not."""
    lines = _markdown_rows(["", "beside", "CPU", "requests/s", "p50", "p99", "Redis CPU"])
    for case in results.cases:
        if "gateway" in case.runs and case.reference in case.runs:
            lines += _markdown_rows([case.title, case.reference, *_markdown_ratios(case)])[:1]
    if results.memory:
        heads = ["memory, KiB", "of the process", "per idle connection", "per slow upload"]
        lines += ["", *_markdown_rows(heads)]
        for name, memory in results.memory.items():
            figures = (f"{memory.base / KIB:.0f}", f"{memory.per_idle / KIB:.1f}")
            row = [name, *figures, f"{memory.per_slow / KIB:.1f}"]
            lines += _markdown_rows(row)[:1]
    return "\n".join(lines) + "\n"


def _markdown_rows(cells: Sequence[str]) -> list[str]:
    """As the head of a table; the first is a row of one."""
    return [f"| {' | '.join(cells)} |".replace("|  |", "| |"), "|" + "---|" * len(cells)]


def _markdown_ratios(case: CaseResult) -> Iterator[str]:
    cpu = "busy_s_gib" if case.bulk else "cpu_us"
    redis = ("redis_us",) if case.reference.endswith("+lua") else ()
    for name in (cpu, "rps", "p50_us", "p99_us", *redis):
        yield _ratio(BY_NAME[name], case, "gateway")
    if not redis:
        yield ""


def _ratio(metric: Metric, case: CaseResult, peer: str) -> str:
    reference = case.runs.get(case.reference)
    found = None if reference is None else ratio(metric, case.runs[peer], reference)
    return "" if found is None else f"{found:.2f}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(_padded(row, widths)).rstrip()


def _padded(row: Iterable[str], widths: Sequence[int]) -> Iterator[str]:
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if number == 0 else cell.rjust(width)
