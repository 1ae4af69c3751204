"""Rendered and thumbnail resources through the application."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import TestResponse

from storage.records import InstanceFacts
from tests.images import ct_series, renew, sample
from tests.viewer.dicomweb_house import House

CT = ct_series(3)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("pictures") / "home")
    for ds in CT:
        house.keep(ds)
    house.keep(renew(sample("test-SR.dcm"), study=CT[0].StudyInstanceUID), series_number="0")
    house.seal()
    yield house
    house.close()


STUDY = f"/dicom-web/studies/{CT[0].StudyInstanceUID}"
SERIES = f"{STUDY}/series/{CT[0].SeriesInstanceUID}"
INSTANCE = f"{SERIES}/instances/{CT[0].SOPInstanceUID}"
KINDS = ["study", "series", "instance", "frame"]  # names of tests must not hold UIDs made at each start


def get(house: House, path: str, accept: str | None = None, **more: str) -> TestResponse:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if accept is not None:
        headers["Accept"] = accept
    return house.client().get(path, headers=headers)


def picture(answer: TestResponse) -> Image.Image:
    assert answer.status_code == 200, answer.data[:300]
    return Image.open(io.BytesIO(answer.data))


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE, f"{INSTANCE}/frames/1"], ids=KINDS)
def test_rendered_as_jpeg_or_png(house: House, path: str) -> None:
    plain = get(house, f"{path}/rendered")
    assert plain.content_type == "image/jpeg"
    assert picture(plain).size == (128, 128)
    png = get(house, f"{path}/rendered", "image/png")
    assert (png.content_type, picture(png).format) == ("image/png", "PNG")
    assert get(house, f"{path}/rendered", "image/webp,image/png,*/*;q=0.8").content_type == "image/png"
    assert get(house, f"{path}/rendered", "video/mp4").status_code == 406


@pytest.mark.parametrize(
    ("path", "count"),
    [(STUDY, 3), (SERIES, 3), (INSTANCE, 1), (f"{INSTANCE}/frames/1", 1)],
    ids=KINDS,
)
def test_rendered_as_a_multipart_message(house: House, path: str, count: int) -> None:
    answer = get(house, f"{path}/rendered", 'multipart/related; type="image/png"')
    assert answer.mimetype == "multipart/related"
    assert answer.data.count(b"\x89PNG") == count
    assert answer.data.count(b"Content-Location: /dicom-web/studies/") == count
    again = get(
        house, f"{path}/rendered", 'multipart/related; type="image/png"', If_None_Match=answer.headers["ETag"]
    )
    assert again.status_code == 304


def test_the_window_is_in_hounsfield_units(house: House) -> None:
    values = CT[0].pixel_array * float(CT[0].RescaleSlope) + float(CT[0].RescaleIntercept)
    shown = np.asarray(picture(get(house, f"{INSTANCE}/rendered?window=40,400,linear-exact", "image/png")))
    expected = np.clip((values - 40) / 400 + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.51
    bright = np.asarray(picture(get(house, f"{INSTANCE}/rendered?window=-500,10,sigmoid", "image/png")))
    assert bright.mean() > shown.mean()


def test_viewport_and_quality(house: House) -> None:
    assert picture(get(house, f"{INSTANCE}/rendered?viewport=64,200")).size == (64, 64)
    part = picture(get(house, f"{INSTANCE}/rendered?viewport=100,50,0,0,64,32", "image/png"))
    assert part.size == (100, 50)
    rough, fine = (len(get(house, f"{INSTANCE}/rendered?quality={q}").data) for q in (5, 95))
    assert rough < fine / 2


@pytest.mark.parametrize(
    "query",
    [
        "window=1",
        "window=1,0",
        "window=1,-5,linear",
        "window=nan,1",
        "window=1,inf",
        "window=1,2,cubic",
        "viewport=0,0",
        "viewport=99999,1",
        "quality=0",
        "quality=101",
        "quality=best",
        "iccprofile=srgb",
        "size=3",
    ],
)
def test_parameters_that_cannot_be_read(house: House, query: str) -> None:
    answer = get(house, f"{INSTANCE}/rendered?{query}")
    assert answer.status_code == 400
    assert answer.json is not None and answer.json["error"]["code"] == "invalid"


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE, f"{INSTANCE}/frames/1"], ids=KINDS)
def test_thumbnails_are_small_and_kept_by_browsers(house: House, path: str) -> None:
    first = get(house, f"{path}/thumbnail")
    assert max(picture(first).size) == 128
    assert first.headers["Cache-Control"].startswith("private")
    assert get(house, f"{path}/thumbnail", If_None_Match=first.headers["ETag"]).status_code == 304
    assert get(house, f"{path}/thumbnail").data == first.data
    assert max(picture(get(house, f"{path}/thumbnail?viewport=32,32")).size) == 32


def test_a_multi_frame_instance_shows_its_telling_frame(house: House) -> None:
    ds = renew(sample("emri_small.dcm"))
    ds.RepresentativeFrameNumber = 7
    path = _path(house.keep(ds))
    seventh = get(house, f"{path}/frames/7/rendered", "image/png")
    assert picture(get(house, f"{path}/rendered", "image/png")).tobytes() == picture(seventh).tobytes()
    assert get(house, f"{path}/frames/11/rendered").status_code == 404
    assert get(house, f"{path}/frames/1,2/rendered").mimetype == "multipart/related"
    assert get(house, f"{path}/frames/1,2/rendered", "image/png").status_code == 406


@pytest.mark.parametrize(
    "name", ["examples_palette.dcm", "examples_ybr_color.dcm", "US1_J2KR.dcm", "color-pl.dcm"]
)
def test_colours(house: House, name: str) -> None:
    path = _path(house.keep(renew(sample(name))))
    for sealed in (False, True):
        if sealed:
            house.seal()
        shown = picture(get(house, f"{path}/rendered", "image/png"))
        assert shown.mode == "RGB"
        red, green, blue = (np.asarray(band).astype(int) for band in shown.split())
        assert np.abs(red - green).max() > 20 or np.abs(green - blue).max() > 20


def test_monochrome1_is_dark_where_values_are_high(house: House) -> None:
    ds = renew(sample("RG3_J2KI.dcm"))
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    shown = np.asarray(picture(get(house, f"{_path(house.keep(ds))}/rendered", "image/png")))
    correlation = np.corrcoef(ds.pixel_array[::8, ::8].ravel(), shown[::8, ::8].ravel())[0, 1]
    assert correlation < -0.5


def _path(facts: InstanceFacts) -> str:
    return (
        f"/dicom-web/studies/{facts.study_instance_uid}/series/{facts.series_instance_uid}"
        f"/instances/{facts.sop_instance_uid}"
    )
