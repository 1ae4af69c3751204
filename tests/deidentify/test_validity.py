"""A valid object stays valid: dciodvfy finds no error after that it did not find before."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from gateway.deidentify.describe import page
from gateway.deidentify.engine import Engine
from gateway.deidentify.profile import load_profiles

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
FOUND = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
ENGINE = Engine(b"a key of the tests, 32 bytes long", load_profiles())
SAMPLES = (
    "CT_small.dcm MR_small.dcm examples_ybr_color.dcm examples_overlay.dcm rtplan.dcm rtstruct.dcm "
    "rtdose.dcm liver_1frame.dcm reportsi.dcm test-SR.dcm JPEG2000.dcm SC_rgb_rle.dcm waveform_ecg.dcm "
    "dicomdirtests/77654033/CR1/6154 dicomdirtests/98892001/CT2N/6293 dicomdirtests/98892003/MR1/4919"
)


def _errors(path: Path) -> set[str]:
    assert FOUND is not None
    ran = subprocess.run(
        [FOUND, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (ran.stdout + ran.stderr).splitlines()
    return {re.sub(r"= <[^>]*>", "", line) for line in lines if line.startswith("Error")}


@pytest.mark.parametrize("profile", ["basic", "clinical"])
@pytest.mark.parametrize("name", SAMPLES.split())
def test_no_new_errors(name: str, profile: str, tmp_path: Path) -> None:
    source = TEST_FILES / name
    if not source.exists():
        pytest.skip("not in this edition of pydicom's test files")
    clean = tmp_path / "clean.dcm"
    clean.write_bytes(ENGINE.run(source, site_code="A", profile=profile).to_bytes())
    assert _errors(clean) - _errors(source) == set()


def test_the_documentation_is_what_the_code_does() -> None:
    assert (ROOT / "docs" / "deidentification.md").read_text(encoding="utf-8") == page()
