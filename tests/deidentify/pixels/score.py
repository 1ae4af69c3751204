"""How much burned in text is found, and how much of text-free images is hidden: the figures of ``make deid-report``.

``python -m tests.deidentify.pixels.score [FRAMES]`` prints them.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from gateway.deidentify.pixels.detector import Detector
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.screen import Report, screen
from tests.deidentify.pixels.corpus import Picture, corpus, dataset, left_over, save, shown
from tests.images import bundled_files, data_store_files

GONE = 0.1
"""Share of a text's strips of which something may remain visible: a hyphen, half a letter."""


@dataclass
class Score:
    """What screening a corpus gave."""

    frames: int = 0
    texts: int = 0
    missed: list[str] = field(default_factory=list)
    by_kind: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / max(1, self.texts)


def screened(path: Path, detector: Detector) -> tuple[pydicom.Dataset, Report]:
    """Screen a file in this process."""
    target = io.BytesIO()
    report = screen(path, target, detector)
    target.seek(0)
    return pydicom.dcmread(target), report


def score_one(made: Picture, kind: str, folder: Path, detector: Detector, score: Score) -> None:
    """Screen one picture; every text counts once for each frame it is in."""
    path = save(dataset(made, kind), folder / "one.dcm")
    before = shown(pydicom.dcmread(path))
    began = time.process_time()
    clean, _ = screened(path, detector)
    score.seconds += time.process_time() - began
    after = shown(clean)
    score.frames += len(before)
    for planted in made.planted:
        for frame in planted.frames:
            score.texts += 1
            left = left_over(planted, before[frame], after[frame])
            if left > GONE:
                score.by_kind[kind] += 1
                score.missed.append(
                    f"{kind}, {planted.place}, {planted.size} px, frame {frame + 1} of {len(before)}, "
                    f"at ({planted.left}, {planted.top}): {left:.0%} of {planted.text!r} left"
                )


def score_corpus(frames: int, detector: Detector, seed: int = 1) -> Score:
    """Screen a corpus of at least `frames` frames."""
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        for made, kind in corpus(frames, seed):
            score_one(made, kind, Path(folder), detector, score)
    return score


def text_free() -> list[Path]:
    """Real grey images without text: those of CT, MR, MG, PT, NM, CR and DX in pydicom and pydicom-data."""
    chosen = []
    for path in [*bundled_files(), *data_store_files()]:
        try:
            with warnings.catch_warnings(action="ignore"):
                ds = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError, ValueError, NotImplementedError, KeyError, AttributeError):
            continue
        captured = "SecondaryCapture" in pydicom.uid.UID(ds.get("SOPClassUID", "")).keyword
        grey = ds.get("SamplesPerPixel") == 1 and not (captured and ds.BitsStored <= 8)
        if ds.get("Modality", "") in TEXT_FREE and grey:
            chosen.append(path)
    return chosen


TEXT_FREE = ("CT", "MR", "MG", "PT", "NM", "CR", "DX")


def score_text_free(detector: Detector) -> list[tuple[str, int, float]]:
    """For each text-free file the number of its frames and the share of its pixels hidden."""
    scores = []
    for path in text_free():
        try:
            _, report = screened(path, detector)
        except Doubtful:
            continue  # the damaged ones of the test sets
        scores.append((path.name, report.frames, report.hidden))
    return scores


def main() -> None:
    detector = Detector()
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 208
    score = score_corpus(wanted, detector)
    print(f"burned-in corpus: {score.frames} frames, {score.texts} texts, recall {score.recall:.2%}")
    print(f"  {score.frames / score.seconds:.1f} frames per second and core")
    for line in score.missed:
        print(f"  missed: {line}")
    free = score_text_free(detector)
    share = np.average([hidden for _, _, hidden in free], weights=[frames for _, frames, _ in free])
    print(f"text-free: {len(free)} files, {sum(frames for _, frames, _ in free)} frames, {share:.4%} hidden")
    for name, frames, hidden in free:
        if hidden:
            print(f"  {name}: {hidden:.3%} of {frames} frames")


if __name__ == "__main__":
    main()
