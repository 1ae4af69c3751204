"""Device rules as data, and what lies outside the regions of an ultrasound image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import ConfigurationError
from gateway.deidentify.pixels.boxes import Box, mask_of
from gateway.deidentify.pixels.regions import hidden, load_rules, outside, standard_rules, ultrasound_regions
from gateway.deidentify.pixels.stored import Opened
from tests.deidentify.pixels import corpus
from tests.images import sample_path


def opened(tmp_path: Path, *, rows: int = 480, columns: int = 640, **attributes: Any) -> Opened:
    ds = corpus.dataset(corpus.picture(1, rows=rows, columns=columns, texts=0), "MONOCHROME1")
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return Opened(corpus.save(ds, tmp_path / "one.dcm"))


def test_the_rules_that_come_with_the_software_can_be_read() -> None:
    rules = standard_rules()
    assert len(rules) > 50
    assert all(rule.boxes(1000, 1000) for rule in rules)


@pytest.mark.parametrize(
    ("attributes", "boxes"),
    [
        ({"Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "iU22"}, [Box(0, 0, 640, 47)]),
        ({"Manufacturer": "ACUSON", "ManufacturerModelName": "SEQUOIA"}, [Box(0, 0, 640, 30)]),
        ({"Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "unknown"}, []),
        ({}, []),
    ],
)
def test_a_device_rule_hides_where_the_device_writes(
    tmp_path: Path, attributes: dict[str, Any], boxes: list[Box]
) -> None:
    assert list(hidden(opened(tmp_path, **attributes)).boxes) == boxes


def test_rows_decide(tmp_path: Path) -> None:
    device: dict[str, Any] = {"Manufacturer": "Philips", "ManufacturerModelName": "iU22"}
    assert list(hidden(opened(tmp_path, rows=600, columns=800, **device)).boxes) == [Box(0, 0, 800, 59)]
    assert not hidden(opened(tmp_path, rows=500, **device)).boxes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[rule]]\nname='a'\nhide=[[0,0,1,1]]", "must say what it matches"),
        ("[[rule]]\nname='a'\nmatch={Modality='US'}\nhide=[]", "hide must be boxes"),
        ("[[rule]]\nname='a'\nmatch={Modality='US'}\nhide=[[-1,0,1,1]]", "hide must be boxes"),
        ("[[rule]]\nname='a'\nmatch={PatientName='x'}\nhide=[[0,0,1,1]]", "cannot match"),
        ("[[rule]]\nname='a'\nmatch={Modality='('}\nhide=[[0,0,1,1]]", "rule 1"),
        ("[[rule]]\nname='a'\nmatch={Modality='US'}\nhide=[[0,0,1,1]]\nshow=1", "unknown key"),
        ("[[rules]]", "unknown key"),
        ("rule = ", "Invalid"),
    ],
)
def test_every_mistake_in_a_rule_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "pixel_regions.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        load_rules(path)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pixel_regions.toml"
    path.write_text("[[rule]]\nname='one'\nhide=[]\n[[rule]]\nname='two'\nmatch={A='x'}\nhide=[]")
    with pytest.raises(ConfigurationError, match=r"one.*two"):
        load_rules(path)


# --- ultrasound regions ---


def test_regions_of_a_real_image() -> None:
    image = Opened(sample_path("gdcm-US-ALOKA-16.dcm"))
    regions = ultrasound_regions(image)
    assert regions
    found = hidden(image)
    assert "outside ultrasound regions" in found.rules
    assert (mask_of(found.boxes, 480, 640) == ~mask_of(regions, 480, 640)).all()


def test_corners_belong_to_a_region_and_are_clipped(tmp_path: Path) -> None:
    ds = corpus.dataset(corpus.picture(1, texts=0), "MONOCHROME1")
    corpus.regions(ds, (10, 20, 99, 79), (200, 100, 5000, 5000))
    image = Opened(corpus.save(ds, tmp_path / "one.dcm"))
    assert ultrasound_regions(image) == [Box(10, 20, 100, 80), Box(200, 100, 480, 360)]


def test_regions_that_say_nothing_hide_nothing(tmp_path: Path) -> None:
    ds = corpus.dataset(corpus.picture(1, texts=0), "MONOCHROME1")
    corpus.regions(ds, (10, 20, 99, 79), (0, 0, 0, 0))
    ds.SequenceOfUltrasoundRegions[0].RegionSpatialFormat = 0
    assert not hidden(Opened(corpus.save(ds, tmp_path / "one.dcm"))).boxes


def test_outside_is_exactly_what_is_not_inside() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        corners = np.sort(random.integers(0, 40, (int(random.integers(1, 5)), 2, 2)), axis=1)
        regions = [Box(*(int(n) for n in box.reshape(-1))) for box in corners]
        covered = mask_of(outside(regions, 37, 41), 37, 41)
        assert (covered == ~mask_of(regions, 37, 41)).all()
