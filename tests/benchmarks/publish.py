"""Publishing: what was found is kept beside the benchmark, drawn, and told in the README."""

from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import chart, report, results, sizing
from tests.benchmarks.machine import ROOT
from tests.benchmarks.results import Results
from tests.benchmarks.sizing import Sizing

HERE = Path(__file__).parent
FOUND, CHART, SIZES, README = (
    HERE / "results.json", HERE / "chart.svg", HERE / "sizing.json", ROOT / "README.md",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Between two lines of the README that nobody sees."""

    begin: str
    end: str

    def told(self, text: str, tables: str) -> str:
        """The README with the tables in their place."""
        before, begin, rest = text.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not (begin and end):
            raise ValueError(f"the README has no place for {self.end}")
        return f"{before}{begin}\n{tables}{end}{after}"


BENCHMARK = Place(
    "<!-- benchmark: written by `python -m tests.benchmarks --publish` -->", "<!-- /benchmark -->"
)
SIZING = Place(
    "<!-- sizing: written by `python -m tests.benchmarks.scale --publish` -->", "<!-- /sizing -->"
)


def publish(found: Results) -> None:
    results.write(found, FOUND)
    CHART.write_text(chart.drawn(found))
    README.write_text(BENCHMARK.told(README.read_text(), report.markdown(found)))


def publish_sizing(found: Sizing) -> None:
    sizing.write(found, SIZES)
    README.write_text(SIZING.told(README.read_text(), sizing.table(found)))
