"""Text is found, whatever frames are made of; what is no text is left alone. The whole corpus: `score`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from gateway.deidentify.pixels.detector import Detector
from tests.deidentify.pixels import corpus
from tests.deidentify.pixels.score import Score, score_corpus, score_one, screened
from tests.images import sample, sample_path

pytestmark = pytest.mark.slow

SHORT = 26
"""Frames of the corpus `make test` screens; ``make deid-report`` screens more than 200."""


def test_nearly_all_text_goes(detector: Detector) -> None:
    score = score_corpus(SHORT, detector, seed=2)
    assert score.frames >= SHORT and score.texts >= 60
    assert score.recall >= 0.99, "\n".join(score.missed)


def test_the_score_sees_text_that_is_left(tmp_path: Path) -> None:
    """Without this a corpus in which nothing can be missed would pass too."""
    made = corpus.picture(1007)
    for kind in corpus.PHOTOMETRICS:
        shown = corpus.shown(pydicom.dcmread(corpus.save(corpus.dataset(made, kind), tmp_path / "one.dcm")))[
            0
        ]
        assert made.planted
        for planted in made.planted:
            assert corpus.left_over(planted, shown, shown) == 1.0
            assert corpus.left_over(planted, shown, np.zeros_like(shown)) == 0.0


def test_text_of_one_frame_goes(detector: Detector, tmp_path: Path) -> None:
    """A name that is there for a single frame of a loop, which no sample would catch."""
    random = np.random.default_rng(5)
    made = corpus.picture(11, rows=240, columns=320, frames=14, texts=0)
    one = corpus.write_text(made.frames, random, "IVANOV IVAN", 18, "speckle", [], range(9, 10))
    assert one is not None
    made.planted.append(one)
    score = Score()
    score_one(made, "MONOCHROME2", tmp_path, detector, score)
    assert (score.texts, score.missed) == (1, [])


def test_runs_of_a_loop_without_text_keep_their_frames(detector: Detector, tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    made = corpus.picture(12, rows=192, columns=256, frames=34, texts=0)
    assert corpus.write_text(made.frames, random, "IVANOV IVAN", 20, "speckle", [], range(18, 22))
    path = corpus.save(corpus.dataset(made, "RGB"), tmp_path / "one.dcm")
    clean, report = screened(path, detector)
    before, after = pydicom.dcmread(path).pixel_array, clean.pixel_array
    assert [n for n in range(34) if not np.array_equal(before[n], after[n])] == list(range(16, 32))
    assert report.frames_changed == 16


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "693_J2KR.dcm",
        "MR2_J2KR.dcm",
        "emri_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
    ],
)
def test_anatomy_is_left_alone(detector: Detector, name: str) -> None:
    path = sample_path(name)
    clean, report = screened(path, detector)
    assert report.hidden == 0
    assert clean.PixelData == sample(name).PixelData


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("US1_UNCR.dcm", (15, 22, 180, 104)),  # BAPTIST MED CTR and four lines more
        ("US1_J2KR.dcm", (15, 22, 180, 104)),
        ("gdcm-US-ALOKA-16.dcm", (0, 0, 640, 24)),
        ("OBXXXX1A.dcm", (0, 0, 800, 59)),
        ("OBXXXX1A_rle.dcm", (0, 0, 800, 59)),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", (10, 22, 340, 115)),
    ],
)
def test_real_text_goes(detector: Detector, name: str, box: tuple[int, int, int, int]) -> None:
    clean, _ = screened(sample_path(name), detector)
    left, top, right, bottom = box
    shown = corpus.shown(clean)[0][top:bottom, left:right]
    assert (shown > 60).mean() < 0.02  # a rule under a heading may stay


def test_a_real_loop_keeps_its_image(detector: Detector) -> None:
    """30 frames of JPEG, YBR_FULL_422: margins go, the heart stays."""
    clean, report = screened(sample_path("examples_ybr_color.dcm"), detector)
    ds = sample("examples_ybr_color.dcm")
    before, after = corpus.shown(ds), corpus.shown(clean)
    assert report.frames == 30
    heart = (slice(None), slice(30, 195), slice(90, 250))
    assert np.abs(after[heart] - before[heart]).mean() < 3
    assert clean.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
