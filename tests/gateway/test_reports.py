"""Reports: what stands in them, in which bytes, and that the standard's validator finds no error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pypdf import PdfReader

from config.errors import NotFound
from gateway.reidentify import Mismatch, Reidentified
from gateway.reports.build import Part
from gateway.reports.content import AlteredContent, ReportContent
from gateway.reports.header import person_name
from gateway.reports.pdf import render
from gateway.reports.wording import dicom_date, person, quantity
from storage.schema import Opinion
from tests.gateway.returning import (
    ACCESSION,
    CT,
    FRAME_OF_REFERENCE,
    MARKS,
    RUSSIAN,
    STUDY,
    Returning,
    all_marks,
    hospital,
)

pytestmark = pytest.mark.slow

DCIODVFY = Path(sys.executable).with_name("dciodvfy")
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
ENGLISH = {
    "conclusion": "No metastases.",
    "findings": "A 12 mm nodule in S6.",
    "recommendations": "Control in 3 months.",
    "question": "Operable?",
    "author": "Dr Jane Maria Doe",
}
ASCII = {"PatientName": b"IVANOV^IVAN", "ReferringPhysicianName": b"", "StudyDescription": b"CT chest"}


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Any]:
    made: list[Returning] = []

    def make(*args: Any, **kwargs: Any) -> Returning:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Returning(directory, *args, **kwargs))
        return made[-1]

    yield make
    for world in made:
        world.close()


def reported(
    world: Returning, marks: Any = (), **texts: str
) -> tuple[ReportContent, Reidentified, dict[str, Part]]:
    content, who = world.reports.identified(world.loaded(world.signed(marks, **texts)))
    return content, who, {part.name: part for part in world.reports.parts(content, who)}


def validated(part: Part, directory: Path) -> Dataset:
    path = directory / f"{part.name}.dcm"
    path.write_bytes(part.data)
    found = subprocess.run([DCIODVFY, path], capture_output=True, text=True, errors="replace")
    assert "Error" not in found.stderr, found.stderr
    return dcmread(BytesIO(part.data))


def items(ds: Dataset, depth: int = 0) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from items(item, depth + 1)


def named(ds: Dataset, code: str) -> list[Dataset]:
    return [
        i
        for i in items(ds)
        if "ConceptNameCodeSequence" in i and i.ConceptNameCodeSequence[0].CodeValue == code
    ]


def test_a_report_in_the_hospitals_character_set(worlds: Any, tmp_path: Path) -> None:
    world = worlds()
    content, _, parts = reported(world, all_marks(world))
    for part in parts.values():
        ds = validated(part, tmp_path)
        assert ds.SpecificCharacterSet == "ISO_IR 144"
        assert RUSSIAN in part.data
        assert ds.get_item("PatientName").value.rstrip() == RUSSIAN
        assert str(ds.PatientName) == "Иванов^Иван^Иванович"
        assert (ds.PatientID, ds.PatientBirthDate, ds.PatientSex) == ("MRN-7781", "19610412", "M")
        assert (ds.StudyInstanceUID, ds.AccessionNumber, ds.StudyID) == (STUDY, ACCESSION, "417")
        assert (ds.StudyDate, ds.StudyTime, ds.StudyDescription) == ("20261103", "142233", "КТ груди")
        assert str(ds.ReferringPhysicianName) == "Сидорова^Анна"
        assert ds.InstitutionName == "Centre ONCO"
    sr = dcmread(BytesIO(parts["sr"].data))
    assert sr.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    [verifier] = sr.VerifyingObserverSequence
    assert str(verifier.VerifyingObserverName) == "Петров^Пётр^Петрович"
    assert verifier.VerificationDateTime == content.signed_at.strftime("%Y%m%d%H%M%S") + "+0000"
    assert named(sr, "121049")[0].ConceptCodeSequence[0].CodeValue == "ru"
    assert str(named(sr, "121008")[0].PersonName) == "Петров^Пётр^Петрович"
    texts = {code: named(sr, code)[0].TextValue for code in ("121109", "121071", "121077", "121075")}
    assert texts == {
        "121109": "Операбелен ли пациент?",
        "121071": "Очаг 12 мм в S6 справа.",
        "121077": "Метастазов нет.",
        "121075": "Контроль через 3 месяца.",
    }
    pdf = dcmread(BytesIO(parts["pdf"].data))
    assert pdf.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert (pdf.Modality, pdf.BurnedInAnnotation) == ("DOC", "YES")
    assert pdf.DocumentTitle == "Заключение консультанта"
    assert pdf.EncapsulatedDocument[: pdf.EncapsulatedDocumentLength].rstrip(b"\0\n").endswith(b"%%EOF")
    assert sr.SeriesInstanceUID != pdf.SeriesInstanceUID


def test_measurements_refer_to_the_original_images(worlds: Any, tmp_path: Path) -> None:
    world = worlds()
    _, _, parts = reported(world, all_marks(world))
    sr = validated(parts["sr"], tmp_path)
    evidence = {
        sop.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert evidence == set(world.originals)
    images = [i for i in items(sr) if i.ValueType == "IMAGE"]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images} == {world.originals[0]}
    assert {i.ReferencedSOPSequence[0].ReferencedSOPClassUID for i in images} == {CT}
    groups = {named(g, "112039")[0].TextValue: g for g in named(sr, "125007")}
    assert sorted(groups) == ["Angle 2", "Arrow 5", "Ellipse 3", "Length 1", "Probe 6", "Rectangle 4"]

    def numbers(group: str) -> list[tuple[str, float, str, str]]:
        found = []
        for i in items(groups[group]):
            if i.ValueType == "NUM":
                value = i.MeasuredValueSequence[0]
                derived = named(i, "121401")
                found.append(
                    (
                        i.ConceptNameCodeSequence[0].CodeMeaning,
                        float(value.NumericValue),
                        value.MeasurementUnitsCodeSequence[0].CodeValue,
                        derived[0].ConceptCodeSequence[0].CodeMeaning if derived else "",
                    )
                )
        return found

    assert numbers("Length 1") == [("Length", 12.3, "mm", "")]
    assert numbers("Angle 2") == [("Angle", 90.0, "deg", "")]
    assert numbers("Ellipse 3") == [
        ("Area", 100.5, "mm2", ""),
        ("Attenuation Coefficient", 41.25, "[hnsf'U]", "Mean"),
        ("Attenuation Coefficient", 7.5, "[hnsf'U]", "Standard Deviation"),
        ("Attenuation Coefficient", -3.0, "[hnsf'U]", "Minimum"),
        ("Attenuation Coefficient", 88.0, "[hnsf'U]", "Maximum"),
    ]
    assert numbers("Rectangle 4") == [("Area", 16.0, "mm2", ""), ("Mean", 12.0, "1", "")]
    assert numbers("Arrow 5") == []
    assert numbers("Probe 6") == [("Attenuation Coefficient", 55.0, "[hnsf'U]", "")]
    [ellipse] = [i for i in items(groups["Ellipse 3"]) if i.ValueType == "SCOORD"]
    assert ellipse.GraphicData == [2, 16, 18, 16, 10, 12, 10, 20], "the major axis comes first"
    [box] = [i for i in items(groups["Rectangle 4"]) if i.ValueType == "SCOORD"]
    assert list(box.GraphicData) == [1, 1, 5, 1, 5, 5, 1, 5, 1, 1]
    [arrow] = [i for i in items(groups["Arrow 5"]) if i.ValueType == "SCOORD"]
    assert (arrow.GraphicType, list(arrow.GraphicData)) == ("POINT", [30.5, 40.5])
    assert named(groups["Arrow 5"], "121106")[0].TextValue == "Лимфоузел"
    [space] = [i for i in items(groups["Length 1"]) if i.ValueType == "SCOORD3D"]
    assert space.ReferencedFrameOfReferenceUID == FRAME_OF_REFERENCE
    assert list(space.GraphicData) == pytest.approx([-10, -20, 30, 2.3, -20, 30])


def test_the_fallback_has_the_same_without_patient_coordinates(worlds: Any, tmp_path: Path) -> None:
    world = worlds()
    _, _, parts = reported(world, all_marks(world))
    fallback = parts["sr"].fallback
    assert fallback is not None and fallback.sop_instance_uid != parts["sr"].sop_instance_uid
    ds = validated(fallback, tmp_path)
    assert ds.SOPClassUID.name == "Comprehensive SR Storage"
    assert not [i for i in items(ds) if i.ValueType == "SCOORD3D"]
    assert len(named(ds, "125007")) == len(MARKS)


def test_a_report_without_marks(worlds: Any, tmp_path: Path) -> None:
    world = worlds()
    _, _, parts = reported(world, recommendations="", findings="", question="")
    ds = validated(parts["sr"], tmp_path)
    validated(parts["pdf"], tmp_path)
    assert ds.SOPClassUID.name == "Comprehensive SR Storage"
    assert [i.TextValue for i in named(ds, "121077")] == ["Метастазов нет."]
    assert not named(ds, "126010")
    assert parts["sr"].fallback is None


@pytest.mark.parametrize(
    ("identity", "texts", "charset", "name"),
    [
        (hospital((), **ASCII), ENGLISH, None, b"IVANOV^IVAN"),
        (hospital(("ISO_IR 6",), **ASCII), ENGLISH, "ISO_IR 6", b"IVANOV^IVAN"),
        (hospital((), **ASCII), {}, "ISO_IR 192", b"IVANOV^IVAN"),
        (hospital(), {"conclusion": "Очаг — 12×9 мм², «тень»"}, "ISO_IR 144", RUSSIAN),
        (hospital(), {"conclusion": "Очаг 12 µm"}, "ISO_IR 192", "Иванов^Иван^Иванович".encode()),
        (hospital(("ISO_IR 192",), **{k: v.decode("iso8859_5").encode() for k, v in (
            ("PatientName", RUSSIAN), ("ReferringPhysicianName", b""), ("StudyDescription", b"CT")
        )}), {}, "ISO_IR 192", "Иванов^Иван^Иванович".encode()),
        (
            hospital(
                ("", "ISO 2022 IR 144"),
                PatientName=b"Ivanov^Ivan=\x1b\x2d\x4c" + "Иванов".encode("iso8859_5"),
                ReferringPhysicianName=b"",
                StudyDescription=b"",
            ),
            {},
            ["", "ISO 2022 IR 144"],
            b"Ivanov^Ivan=\x1b\x2d\x4c" + "Иванов".encode("iso8859_5"),
        ),
        (
            hospital(
                ("windows-1251",),
                PatientName="Иванов^Иван".encode("cp1251"),
                ReferringPhysicianName=b"",
                StudyDescription=b"",
            ),
            {},
            "ISO_IR 192",
            "Иванов^Иван".encode(),
        ),
        (
            hospital(
                ("ISO_IR 100",),
                PatientName="Müller^Jörg".encode("latin-1"),
                ReferringPhysicianName=b"",
                StudyDescription=b"",
            ),
            {},
            "ISO_IR 192",
            "Müller^Jörg".encode(),
        ),
    ],
    ids=["none-en", "ir6-en", "none-ru", "144-dash", "144-micro", "192-ru", "2022-ru", "cp1251", "100-ru"],
)  # fmt: skip
def test_character_sets(
    worlds: Any, tmp_path: Path, identity: Any, texts: dict[str, str], charset: Any, name: bytes
) -> None:
    world = worlds(identity)
    content, _, parts = reported(world, [world.mark("m", label="")], **texts)
    for part in parts.values():
        ds = validated(part, tmp_path)
        assert ds.StudyInstanceUID == STUDY
        if part.name == "pdf" and "µ" in content.conclusion:
            # The sign is in the document, not in the object's own texts.
            assert ds.SpecificCharacterSet == "ISO_IR 144"
            assert ds.get_item("PatientName").value.rstrip() == RUSSIAN
            continue
        assert ds.get("SpecificCharacterSet") == charset
        assert ds.get_item("PatientName").value.rstrip() == name
    sr = dcmread(BytesIO(parts["sr"].data))
    plain = 'Очаг - 12x9 мм2, "тень"' if "—" in content.conclusion else content.conclusion
    assert named(sr, "121077")[0].TextValue == plain


def test_no_pseudonym_leaves(worlds: Any) -> None:
    world = worlds()
    content, who, parts = reported(world, all_marks(world))
    document = "\n".join(page.extract_text() for page in PdfReader(BytesIO(render(content, who))).pages)
    study = content.study
    pseudonyms = {
        study["study_instance_uid"],
        study["patient_id"],
        study["accession_number"],
        "CONS-XXXXXX",
        study["study_date"],
        *world.vault.original_uids(study["study_instance_uid"]),
        world.facts.series_instance_uid,
        world.pseudo(FRAME_OF_REFERENCE),
    }
    assert "" not in pseudonyms and len(pseudonyms) == 10
    for pseudonym in pseudonyms:
        assert pseudonym not in document
        for part in [*parts.values(), parts["sr"].fallback]:
            assert part is not None and pseudonym.encode() not in part.data


def test_the_same_opinion_gives_the_same_bytes(worlds: Any) -> None:
    world = worlds()
    opinion = world.loaded(world.signed(all_marks(world)))
    first = world.reports.parts(*world.reports.identified(opinion))
    assert first == world.reports.parts(*world.reports.identified(opinion))


def test_the_document(worlds: Any) -> None:
    world = worlds()
    long = "Паренхима лёгких без очаговых изменений → норма. " * 300
    opinion = world.signed(all_marks(world), findings=f"{long}\n<b>не жирный</b> & 5 < 6")
    pdf = world.reports.pdf(world.public_id)
    reader = PdfReader(BytesIO(pdf))
    pages = [page.extract_text() for page in reader.pages]
    text = " ".join("\n".join(pages).split())
    assert len(pages) >= 3
    assert all(f"Страница {n} из {len(pages)}" in page for n, page in enumerate(pages, 1))
    assert all("Иванов Иван Иванович" in page for page in pages)
    for expected in (
        "MRN-7781", "12.04.1961", "Мужской", ACCESSION, "03.11.2026", "КТ груди", "North hospital", "Centre ONCO",
        "Онкология", "Неотложная", "Операбелен ли пациент?", "<b>не жирный</b> & 5 < 6", "-> норма",
        "Метастазов нет.", "Контроль через 3 месяца.", "12,3 мм", "90°", "площадь 100,5 мм²", "Лимфоузел",
        "Петров Пётр Петрович", opinion.content_sha256[:32], opinion.content_sha256[32:],
    ):  # fmt: skip
        assert expected in text, expected
    assert reader.metadata is not None and reader.metadata.title == "Заключение консультанта"


def test_the_document_in_english(worlds: Any) -> None:
    world = worlds(hospital((), **ASCII))
    world.signed([world.mark("m")], **ENGLISH)
    [page] = PdfReader(BytesIO(world.reports.pdf(world.public_id))).pages
    text = page.extract_text()
    for expected in ("Consultation report", "IVANOV IVAN", "1961-04-12", "Urgent", "12.3 mm", "Page 1 of 1"):
        assert expected in text
    assert not any("а" <= c <= "я" for c in text)


def test_multi_frame_images_are_referred_to_by_frame(worlds: Any, tmp_path: Path) -> None:
    world = worlds(modality="US", instances=0)
    world.originals = ["1.2.643.5.1.100.2.7"]
    world.remember(world.originals[0], US_MULTI_FRAME)
    world.first = (world.facts.series_instance_uid, world.pseudo(world.originals[0]))
    _, _, parts = reported(world, [world.mark("m", points_world=None), world.mark("n", frame=12)])
    sr = validated(parts["sr"], tmp_path)
    frames = [i.ReferencedSOPSequence[0].ReferencedFrameNumber for i in items(sr) if i.ValueType == "IMAGE"]
    assert frames == [1, 12]


def test_what_was_not_signed_is_not_reported(worlds: Any) -> None:
    world = worlds()
    opinion = world.loaded(world.signed())
    assert opinion.content is not None
    for altered in (
        {"content": {**opinion.content, "conclusion": "Метастазы."}},
        {"content_sha256": "0" * 64},
        {"signed_at": None},
    ):
        before = {name: getattr(opinion, name) for name in altered}
        for name, value in altered.items():
            setattr(opinion, name, value)
        with pytest.raises(AlteredContent) as error:
            ReportContent.of(opinion)
        assert "Метастаз" not in str(error.value)
        for name, value in before.items():
            setattr(opinion, name, value)
    with pytest.raises(NotFound):
        world.reports.pdf("no-such-consultation")


def test_a_mark_on_an_unknown_image_refuses(worlds: Any) -> None:
    world = worlds()
    content, who, _ = reported(world, [world.mark("m")])
    [mark] = content.marks
    with pytest.raises(Mismatch):
        world.reports.parts(replace(content, marks=(replace(mark, sop_instance_uid="2.25.4"),)), who)


def test_wording() -> None:
    assert person_name("Dr Jane Maria Doe") == "Doe^Jane^Maria^Dr"
    assert person_name("Иванов Иван Иванович") == "Иванов^Иван^Иванович"
    assert person_name("Doe^Jane") == "Doe^Jane"
    assert person_name("Петрова") == "Петрова^"
    assert person("Wang^XiaoDong=王^小東") == "Wang XiaoDong"
    assert person("=王^小東") == "王 小東"
    assert dicom_date("20261103", "ru") == "03.11.2026"
    assert dicom_date("2026", "en") == "2026"
    assert quantity("mean", 41.26, "[hnsf'U]", "en") == "mean 41.3\u00a0HU"
    assert quantity("length", 12.0, "mm", "ru") == "12\u00a0мм"


def test_an_opinion_row_is_enough(worlds: Any) -> None:
    world = worlds()
    opinion = world.loaded(world.signed())
    assert isinstance(opinion, Opinion)
    assert ReportContent.of(opinion).signed_at == opinion.signed_at.replace(microsecond=0)  # type: ignore[union-attr]


def test_the_document_names_the_image_by_its_numbers(worlds: Any) -> None:
    world = worlds()
    content, who, _ = reported(world, [world.mark("m")])
    [mark] = content.marks
    numbered = replace(mark, series_number="3", instance_number="12", frame_count=1)
    [page] = PdfReader(BytesIO(render(replace(content, marks=(numbered,)), who))).pages
    assert f"серия 3, изображение 12, {world.originals[0]}" in page.extract_text()
