"""Reports and bars: what is said of results, and results as a document and back."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import chart, publish, report, results, sizing
from tests.benchmarks.__main__ import parser
from tests.benchmarks.bars import BARS
from tests.benchmarks.made import BULK, SMALL
from tests.benchmarks.made import results as made
from tests.benchmarks.results import Memory

KIB = 1024
ALL = made(SMALL, BULK, memory={"gateway": Memory(30 * KIB * KIB, 10 * KIB, 20 * KIB)})


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results.write(ALL, tmp_path / "found.json")
    assert results.read(tmp_path / "found.json") == ALL


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"version": 0}')
    with pytest.raises(ValueError, match="another version"):
        results.read(tmp_path / "old.json")


def test_bars_are_quotients_of_the_same_rounds() -> None:
    found = {bar.title: bar.found(ALL) for bar in BARS}
    assert found["small, 64 connections: CPU per request, nginx+Lua / gateway"] == 2.0
    assert found["small, 256 connections: CPU per request, nginx+Lua / gateway"] is None
    assert found["Redis CPU per request, gateway / nginx+Lua"] == 1.0
    worst = found["bulk of known length, worst: core-busy time, tuned nginx / gateway"]
    assert worst == pytest.approx(1.5)
    splice = found["bulk of known length, worst: core-busy time, HAProxy splice / gateway"]
    assert splice == pytest.approx(0.75)
    assert found["memory per slow upload, KiB"] == 20.0


def test_a_bar_is_missed_held_or_its_aim_is_reached() -> None:
    at_least = next(bar for bar in BARS if bar.at_least and bar.aim is not None)
    at_most = next(bar for bar in BARS if not bar.at_least)
    assert at_least.aim is not None
    assert at_least.verdict(at_least.must - 0.01) == "MISSED"
    assert at_least.verdict(at_least.must) == "held"
    assert at_least.verdict(at_least.aim) == "aim reached"
    assert at_most.verdict(at_most.must + 0.01) == "MISSED"
    assert at_most.verdict(at_most.must) == "held"


def test_a_terminal_is_told_everything() -> None:
    said = report.terminal(ALL)
    assert "envoy: not measured, envoy is missing" in said
    assert "POST 1KiB, 64 connections (x nginx+lua)" in said
    gateway = next(line for line in said.splitlines() if line.startswith("gateway  "))
    assert gateway.split()[:3] == ["gateway", "100", "2.00"]
    assert "aim reached" in said


def test_the_readme_is_told_ratios_alone() -> None:
    assert report.markdown(ALL).splitlines() == [
        "| | beside | CPU | requests/s | p50 | p99 | Redis CPU |",
        "|---|---|---|---|---|---|---|",
        "| POST 1KiB, 64 connections | nginx+lua | 2.00 | 1.00 | 1.00 | 1.00 | 1.00 |",
        "| PUT 64MiB, 1 connection | nginx-tuned | 1.50 | 1.00 | 1.00 | 1.00 | |",
        "",
        "| memory, KiB | of the process | per idle connection | per slow upload |",
        "|---|---|---|---|",
        "| gateway | 30720 | 10.0 | 20.0 |",
    ]


def test_the_readme_tells_what_is_kept() -> None:
    kept = results.read(publish.FOUND)
    assert publish.BENCHMARK.told(publish.README.read_text(), report.markdown(kept)) == (
        publish.README.read_text()
    )
    assert publish.CHART.read_text() == chart.drawn(kept)
    sizes = sizing.table(sizing.read(publish.SIZES))
    assert publish.SIZING.told(publish.README.read_text(), sizes) == publish.README.read_text()


def test_a_readme_without_a_place_for_it_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place"):
        publish.BENCHMARK.told("# gateway\n", "| |\n")


def test_a_chart_has_a_row_for_each_case_and_a_mark_for_each_peer() -> None:
    root = ElementTree.fromstring(chart.drawn(ALL))
    marks = [mark.text for mark in root.findall("{*}circle/{*}title")]
    assert marks == ["gateway: 2.00", "HAProxy: 2.25", "gateway: 1.50"]
    assert len(root.findall("{*}rect")) == 2


@pytest.mark.parametrize(("value", "at"), [(0.01, 0.125), (100, 8)])
def test_what_lies_beyond_the_axis_is_drawn_at_its_end(value: float, at: float) -> None:
    assert chart.place(value) == chart.place(at)
    assert chart.place(0.5) < chart.place(1) < chart.place(2)


def test_results_that_cannot_be_written_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--json", str(tmp_path / "nowhere" / "found.json")])
    assert "there is no directory" in capsys.readouterr().err
    assert parser().parse_args(["--json", str(tmp_path / "a")]).json == tmp_path / "a"
