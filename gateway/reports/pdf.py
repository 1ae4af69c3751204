"""The opinion on paper: an A4 report in the author's language, with the patient's real identity.

The same opinion gives the same bytes, so that a repeated delivery is the same document.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

import font_roboto
from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    HRFlowable,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from config.specialties import SPECIALTIES
from gateway.reidentify import Reidentified
from gateway.reports.content import Mark, ReportContent
from gateway.reports.wording import TOOLS, WORDS, dicom_date, moment, person, quantity

INK, SOFT, ACCENT, PALE, LINE = map(HexColor, ("#1c2833", "#5d6d7b", "#0b5a73", "#eef4f7", "#cfdbe2"))
URGENCY: dict[str, Color] = {
    "emergency": HexColor("#b3261e"),
    "urgent": HexColor("#b26a00"),
    "planned": HexColor("#3d7a4b"),
}
MARGIN = 18 * mm
WIDTH = A4[0] - 2 * MARGIN

_REPLACED = {"→": "->", "←": "<-", "⇒": "=>", "☐": "-", "✓": "+", "\t": "    ", "\u200b": "", "\ufeff": ""}


@cache
def _fonts() -> frozenset[int]:
    """Register Roboto with reportlab; the code points it can draw."""
    for name, path in (
        ("Roboto", font_roboto.Roboto),
        ("Roboto-Medium", font_roboto.RobotoMedium),
        ("Roboto-Bold", font_roboto.RobotoBold),
    ):
        pdfmetrics.registerFont(TTFont(name, path))
    pdfmetrics.registerFontFamily("Roboto", normal="Roboto", bold="Roboto-Bold")
    return frozenset(pdfmetrics.getFont("Roboto").face.charToGlyph)


def _style(name: str, **more: Any) -> ParagraphStyle:
    base: dict[str, Any] = {"fontName": "Roboto", "fontSize": 10, "leading": 14.5, "textColor": INK}
    return ParagraphStyle(name, **{**base, **more})


BODY = _style("body", spaceAfter=3)
SMALL = _style("small", fontSize=8, leading=10.5, textColor=SOFT)
LABEL = _style("label", fontSize=7.5, leading=9.5, textColor=SOFT)
VALUE = _style("value", fontName="Roboto-Medium", fontSize=9.5, leading=12.5)
CELL = _style("cell", fontSize=9, leading=11.5)
HEADING = _style(
    "heading",
    fontName="Roboto-Bold",
    fontSize=10.5,
    leading=14,
    textColor=ACCENT,
    spaceBefore=9,
    spaceAfter=3,
)
CENTRE = _style("centre", fontName="Roboto-Medium", fontSize=10.5, leading=13.5, textColor=ACCENT)
TITLE = _style("title", fontName="Roboto-Bold", fontSize=19, leading=24)
BADGE = _style("badge", fontName="Roboto-Bold", fontSize=8.5, leading=11, textColor=white, alignment=1)
RIGHT = _style("right", fontSize=8, leading=11, textColor=SOFT, alignment=TA_RIGHT)
CONCLUSION = _style(
    "conclusion",
    fontSize=10.5,
    leading=15.5,
    fontName="Roboto-Medium",
    backColor=PALE,
    borderPadding=(4, 8, 5, 8),
    leftIndent=8,
    rightIndent=8,
    spaceAfter=0,
)
QUESTION = _style("question", textColor=SOFT, leading=14)


def render(content: ReportContent, who: Reidentified) -> bytes:
    """The PDF of a signed opinion.

    Parameters
    ----------
    content
        The checked content.
    who
        Whose study it is.
    """
    _fonts()
    words = WORDS[content.language]
    name = person(who.identity.text("PatientName"))
    buffer = BytesIO()
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=15 * mm,
        bottomMargin=20 * mm,
        title=words["title"],
        author=content.author_name,
        subject=words["subject"],
        creator="Consilium",
        lang=content.language,
        invariant=1,
    )
    frame = Frame(MARGIN, 20 * mm, WIDTH, A4[1] - 35 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame]))
    foot = f"{name}   ·   {words['patient_id']} {who.identity.text('PatientID')}"
    document.build(_story(content, who, name), canvasmaker=_numbered(content, foot))
    return buffer.getvalue()


def _story(content: ReportContent, who: Reidentified, name: str) -> list[Flowable]:
    words = WORDS[content.language]
    story: list[Flowable] = [
        *_head(content),
        _patient(content, who, name),
        Spacer(1, 3 * mm),
        _request(content),
    ]
    if content.question.strip():
        story += [Paragraph(words["question"], HEADING), *_paragraphs(content.question, QUESTION)]
    if content.findings.strip():
        story += [Paragraph(words["findings"], HEADING), *_paragraphs(content.findings, BODY)]
    # A heading does not stay alone at the foot of a page.
    story += [
        CondPageBreak(28 * mm),
        Paragraph(words["conclusion"], HEADING),
        Spacer(1, 4),
        *_paragraphs(content.conclusion, CONCLUSION),
        Spacer(1, 8),
    ]
    if content.recommendations.strip():
        story += [
            CondPageBreak(25 * mm),
            Paragraph(words["recommendations"], HEADING),
            *_paragraphs(content.recommendations, BODY),
        ]
    if content.marks:
        story += [
            CondPageBreak(35 * mm),
            Paragraph(words["measurements"], HEADING),
            _measurements(content, who),
        ]
    story.append(_signature(content))
    return story


def _head(content: ReportContent) -> list[Flowable]:
    words = WORDS[content.language]
    badge = Table([[Paragraph(words[content.urgency].upper(), BADGE)]], colWidths=[34 * mm], hAlign="RIGHT")
    badge.setStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), URGENCY[content.urgency]),
            ("ROUNDEDCORNERS", [3, 3, 3, 3]),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
        ]
    )
    left = [
        Paragraph(_text(content.centre_name or "Consilium"), CENTRE),
        Paragraph(words["title"], TITLE),
    ]
    right = [badge, Spacer(1, 3), Paragraph(moment(content.signed_at, content.language), RIGHT)]
    head = Table([[left, right]], colWidths=[WIDTH - 48 * mm, 48 * mm])
    head.setStyle([*_tight("VALIGN", "TOP"), ("ALIGN", (1, 0), (1, 0), "RIGHT")])
    return [head, Spacer(1, 2 * mm), HRFlowable(width="100%", thickness=1.6, color=ACCENT, spaceAfter=4 * mm)]


def _patient(content: ReportContent, who: Reidentified, name: str) -> Table:
    words, language, text = WORDS[content.language], content.language, who.identity.text
    sex = text("PatientSex") or who.kept.get("PatientSex", "")
    study = ", ".join(
        part for part in (text("StudyDescription"), content.study["modalities"].replace("\\", " / ")) if part
    )
    rows = [
        (words["patient"], name, words["patient_id"], text("PatientID")),
        (
            words["birth_date"],
            dicom_date(text("PatientBirthDate"), language),
            words["sex"],
            words.get(sex, sex),
        ),
        (
            words["study"],
            study,
            words["study_date"],
            dicom_date(text("StudyDate"), language),
        ),
        (words["hospital"], content.site_name, words["accession"], who.accession_number),
    ]
    return _facts(rows, PALE)


def _request(content: ReportContent) -> Table:
    words, language = WORDS[content.language], content.language
    requested = moment(content.requested_at, language) if content.requested_at else ""
    specialty = SPECIALTIES[content.specialty].name(language) if content.specialty in SPECIALTIES else ""
    return _facts(
        [
            (words["specialty"], specialty or content.specialty, words["requested"], requested),
            (words["urgency"], words[content.urgency], words["signed"], moment(content.signed_at, language)),
        ],
        None,
    )


def _facts(rows: list[tuple[str, str, str, str]], background: Color | None) -> Table:
    cells = [
        [[Paragraph(_text(row[i]), LABEL), Paragraph(_text(row[i + 1]) or "—", VALUE)] for i in (0, 2)]
        for row in rows
    ]
    table = Table(cells, colWidths=[WIDTH * 0.6, WIDTH * 0.4])
    style: list[Any] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 8),
        ("RIGHTPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
    ]
    if background is not None:
        style += [("BACKGROUND", (0, 0), (-1, -1), background), ("ROUNDEDCORNERS", [4, 4, 4, 4])]
    else:
        style.append(("LINEBELOW", (0, -1), (-1, -1), 0.6, LINE))
    table.setStyle(style)
    return table


def _measurements(content: ReportContent, who: Reidentified) -> Table:
    words, language = WORDS[content.language], content.language
    head = [Paragraph(words[key], LABEL) for key in ("number", "mark", "label", "value")]
    rows: list[list[Any]] = [head]
    for index, mark in enumerate(content.marks, 1):
        values = [quantity(name, v, unit, language) for name, (v, unit) in mark.measurements.items()]
        rows.append(
            [
                Paragraph(str(index), CELL),
                Paragraph(TOOLS[language][mark.tool], CELL),
                [Paragraph(_text(mark.label) or "—", CELL), Paragraph(_where(mark, who, words), _UID_STYLE)],
                Paragraph(_text(", ".join(v for v in values if v)) or "—", CELL),
            ]
        )
    table = Table(rows, colWidths=[10 * mm, 30 * mm, WIDTH - 100 * mm, 60 * mm], repeatRows=1, hAlign="LEFT")
    table.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, 0), 0.9, ACCENT),
            ("LINEBELOW", (0, 1), (-1, -1), 0.4, LINE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 4),
            ("RIGHTPADDING", (0, 0), (-1, -1), 4),
            ("TOPPADDING", (0, 0), (-1, -1), 3),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
        ]
    )
    return table


_UID_STYLE = _style("uid", fontSize=6.5, leading=8.5, textColor=SOFT)


def _where(mark: Mark, who: Reidentified, words: Any) -> str:
    """The original image, so that the hospital finds it: its numbers, its UID."""
    parts = [
        f"{words['series']} {mark.series_number}" if mark.series_number else "",
        f"{words['image']} {mark.instance_number}" if mark.instance_number else "",
        f"{words['frame']} {mark.frame}" if max(mark.frame, mark.frame_count) > 1 else "",
        who.original(mark.sop_instance_uid).sop_instance_uid,
    ]
    return _text(", ".join(part for part in parts if part))


def _signature(content: ReportContent) -> Flowable:
    words, language = WORDS[content.language], content.language
    specialty = SPECIALTIES[content.specialty].name(language) if content.specialty in SPECIALTIES else ""
    place = " · ".join(part for part in (specialty, content.centre_name) if part)
    left = [
        Paragraph(words["signature"], LABEL),
        Paragraph(
            _text(content.author_name), _style("name", fontName="Roboto-Bold", fontSize=11, leading=15)
        ),
        Paragraph(_text(place), SMALL),
        Paragraph(moment(content.signed_at, language), SMALL),
    ]
    halves = f"{content.digest[:32]}<br/>{content.digest[32:]}"
    right = [
        Paragraph(words["consultation"], LABEL),
        Paragraph(content.consultation, SMALL),
        Spacer(1, 3),
        Paragraph(words["digest"], LABEL),
        Paragraph(halves, SMALL),
    ]
    box = Table([[left, right]], colWidths=[WIDTH * 0.56, WIDTH * 0.44])
    box.setStyle(
        [
            ("BOX", (0, 0), (-1, -1), 0.8, LINE),
            ("ROUNDEDCORNERS", [4, 4, 4, 4]),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 10),
            ("TOPPADDING", (0, 0), (-1, -1), 7),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 9),
        ]
    )
    return KeepTogether([Spacer(1, 8 * mm), box])


def _tight(*more: Any) -> list[Any]:
    sides = ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")
    return [*((side, (0, 0), (-1, -1), 0) for side in sides), (more[0], (0, 0), (-1, -1), more[1])]


def _paragraphs(text: str, style: ParagraphStyle) -> list[Flowable]:
    return [Paragraph(_text(line) or "&nbsp;", style) for line in text.strip().splitlines()]


def _text(text: str) -> str:
    """Text for reportlab: escaped, and only what the font can draw."""
    known = _fonts()
    drawn = "".join(
        c if ord(c) in known or c.isspace() else _REPLACED.get(c, "?")
        for c in "".join(_REPLACED.get(c, c) for c in text)
    )
    return escape(drawn)


def _numbered(content: ReportContent, foot: str) -> type[Canvas]:
    """A canvas that knows how many pages there are when it writes their feet."""
    words = WORDS[content.language]
    known = _fonts()
    foot = "".join(c if ord(c) in known else "?" for c in foot)

    class Numbered(Canvas):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                self._foot(words["page"].format(page=number, pages=len(self._pages)))
                super().showPage()
            super().save()

        def _foot(self, page: str) -> None:
            self.setStrokeColor(LINE)
            self.setLineWidth(0.6)
            self.line(MARGIN, 14 * mm, A4[0] - MARGIN, 14 * mm)
            self.setFillColor(SOFT)
            self.setFont("Roboto", 7.5)
            self.drawString(MARGIN, 10 * mm, foot[:90])
            self.drawRightString(A4[0] - MARGIN, 10 * mm, page)

    return Numbered
