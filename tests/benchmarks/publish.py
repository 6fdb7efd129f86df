"""Publishing: what was found is kept beside the benchmark, drawn, and told in the README."""

from pathlib import Path

from tests.benchmarks import chart, report, results
from tests.benchmarks.machine import ROOT
from tests.benchmarks.results import Results

HERE = Path(__file__).parent
FOUND, CHART, README = HERE / "results.json", HERE / "chart.svg", ROOT / "README.md"
BEGIN = "<!-- benchmark: written by `python -m tests.benchmarks --publish` -->"
END = "<!-- /benchmark -->"


def publish(found: Results) -> None:
    results.write(found, FOUND)
    CHART.write_text(chart.drawn(found))
    README.write_text(told(README.read_text(), report.markdown(found)))


def told(text: str, tables: str) -> str:
    """The README with the tables in their place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the README has no place for the benchmark")
    return f"{before}{BEGIN}\n{tables}{END}{after}"
