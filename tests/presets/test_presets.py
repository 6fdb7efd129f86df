"""Every preset is a whole configuration with its upstream's URL, and open in each of its lines."""

from pathlib import Path

import pytest

from gateway import files
from gateway.catalog import documents
from gateway.catalog.presets import Preset
from gateway.errors import ConfigError
from gateway.settings import Configuration, read

each_preset = pytest.mark.parametrize("preset", list(Preset))
URL = '[upstreams.api]\nurl = "http://127.0.0.1:9000"\n'


def configured(directory: Path, text: str) -> Configuration:
    path = directory / "gateway.toml"
    path.write_text(text)
    return read(path)


def test_every_preset_is_there() -> None:
    assert {path.stem for path in files.PRESETS.glob("*.toml")} == {one.value for one in Preset}


@each_preset
def test_one_line_and_the_url_of_the_upstream_are_enough(preset: Preset, tmp_path: Path) -> None:
    catalog = configured(tmp_path, f'preset = "{preset}"\n{URL}').catalog
    assert catalog.routes
    assert catalog.plans
    assert all(page.dialect == catalog.dialect for page in catalog.usage_paths)
    assert catalog.usage_paths


@each_preset
def test_without_the_url_it_is_asked_for(preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f'preset = "{preset}"\n')
    (problem,) = caught.value.problems
    assert (problem.place, problem.problem) == ("upstreams.api", "has no url")


@each_preset
def test_each_line_can_be_said_otherwise(preset: Preset, tmp_path: Path) -> None:
    values = documents.parse((files.PRESETS / f"{preset}.toml").read_bytes(), preset).values
    route = values["routes"][0]["name"]
    plan = next(iter(values["plans"]))
    meter = next(iter(values["meters"]))
    own = (
        f'preset = "{preset}"\n{URL}[plans.{plan}]\nlimits = {{ {meter} = 77 }}\n'
        f'[[routes]]\nname = "{route}"\ntimeout = "7m"\n'
    )
    catalog = configured(tmp_path, own).catalog
    assert catalog.plans[plan].limits[meter] == 77
    assert next(one for one in catalog.routes if one.name == route).timeout_s == 420
    assert len(catalog.routes) == len(values["routes"])
