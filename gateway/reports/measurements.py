"""Marks as measurement groups of TID 1500 (PS3.16).

========================  ==================================================================================
length, angle             TID 1501; the NUM is inferred from a polyline on the image, and from the same
                          polyline in the patient where its coordinates are known
ellipse, rectangle        TID 1410: image region, area and statistics of the pixels in it
arrow, probe              TID 1410: a point on the image; the arrow's point is its tip
========================  ==================================================================================

A label is the group's Comment. Points on the image select the **original** instance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    CoordinatesForMeasurement,
    CoordinatesForMeasurement3D,
    GraphicTypeValues,
    GraphicTypeValues3D,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code
from pydicom.uid import UID

from gateway.reports import codes
from gateway.reports.content import Mark, ReportContent
from gateway.reports.header import report_uid
from storage.records import OriginalUIDs

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
Points = Sequence[tuple[float, ...]]


def has_patient_coordinates(mark: Mark, image: OriginalUIDs) -> bool:
    """Whether this mark's group holds coordinates in the patient, which only a Comprehensive 3D SR may."""
    return mark.tool in ("length", "angle") and bool(mark.points_world) and bool(image.frame_of_reference_uid)


def group(mark: Mark, number: int, image: OriginalUIDs, content: ReportContent, *, in_patient: bool) -> Group:
    """The measurement group of one mark.

    Parameters
    ----------
    number
        Position of the mark in the report, from 1.
    image
        The original instance that is marked.
    in_patient
        Whether coordinates in the patient may be written.
    """
    name = f"{mark.tool.capitalize()} {number}"
    tracking = TrackingIdentifier(uid=report_uid("mark", content.digest, mark.uid), identifier=name)
    made: Group
    if mark.tool in ("length", "angle"):
        made = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking, measurements=_inferred(mark, image, in_patient)
        )
    else:
        made = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            referenced_region=_region(mark, image),
            measurements=_statistics(mark, content) or None,
        )
    if mark.label:
        made[0].ContentSequence.append(
            TextContentItem(codes.COMMENT, mark.label, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    return made


def _inferred(mark: Mark, image: OriginalUIDs, in_patient: bool) -> list[Measurement]:
    source = SourceImageForRegion(
        image.sop_class_uid, image.sop_instance_uid, referenced_frame_numbers=frames(image, mark)
    )
    where: list[CoordinatesForMeasurement | CoordinatesForMeasurement3D] = [
        CoordinatesForMeasurement(GraphicTypeValues.POLYLINE, np.array(mark.points_image), source)
    ]
    if in_patient and has_patient_coordinates(mark, image):
        where.append(
            CoordinatesForMeasurement3D(
                GraphicTypeValues3D.POLYLINE, np.array(mark.points_world), UID(image.frame_of_reference_uid)
            )
        )
    value, unit = mark.measurements.get(mark.tool) or _measured(mark)
    return [Measurement(codes.SIZES[mark.tool], value, codes.UNITS[unit], referenced_coordinates=where)]


def _measured(mark: Mark) -> tuple[float, str]:
    """What a length or an angle amounts to when the viewer sent no number: from the points."""
    points: Points = mark.points_world or mark.points_image
    if mark.tool == "length":
        return math.dist(points[0], points[1]), "mm" if mark.points_world else "{pixels}"
    arms = [np.subtract(points[end], points[1]) for end in (0, 2)]
    product = float(np.linalg.norm(arms[0]) * np.linalg.norm(arms[1]))
    cosine = float(np.dot(arms[0], arms[1])) / product if product else 1.0
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine)))), "deg"


def _region(mark: Mark, image: OriginalUIDs) -> ImageRegion:
    source = SourceImageForRegion(
        image.sop_class_uid, image.sop_instance_uid, referenced_frame_numbers=frames(image, mark)
    )
    points = list(mark.points_image)
    if mark.tool == "ellipse":
        # PS3.3 C.18.6.1.2: the first two points are the ends of the major axis.
        first, second = points[:2], points[2:]
        if math.dist(*second) > math.dist(*first):
            points = second + first
        return ImageRegion(GraphicTypeValues.ELLIPSE, np.array(points), source)
    if mark.tool == "rectangle":
        ring = _around(points)
        return ImageRegion(GraphicTypeValues.POLYLINE, np.array([*ring, ring[0]]), source)
    return ImageRegion(GraphicTypeValues.POINT, np.array(points[:1]), source)


def _around(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners in the order of the outline: viewers list them row by row."""
    column, row = (sum(axis) / len(corners) for axis in zip(*corners, strict=True))
    return sorted(corners, key=lambda corner: math.atan2(corner[1] - row, corner[0] - column))


def _statistics(mark: Mark, content: ReportContent) -> list[Measurement]:
    found = []
    for quantity, (value, unit) in mark.measurements.items():
        derivation: Code | None = None
        if quantity in codes.SIZES:
            name = codes.SIZES[quantity]
        else:
            intensity = codes.INTENSITIES.get(unit)
            if intensity is None and content.study["modalities"] == "MR":
                intensity = codes.MR_INTENSITY
            derivation = codes.DERIVATIONS.get(quantity) if intensity else None
            name = intensity or codes.DERIVATIONS.get(quantity, codes.PIXEL_VALUE)
        found.append(Measurement(name, value, codes.UNITS[unit], derivation=derivation))
    return found


def frames(image: OriginalUIDs, mark: Mark) -> list[int] | None:
    """Referenced Frame Number: for multi-frame instances only (PS3.3 10.3, Type 1C)."""
    if mark.frame > 1 or mark.frame_count > 1:
        return [mark.frame]
    # An instance of a multi-frame class is one with a single frame, too.
    name = UID(image.sop_class_uid).name
    return [1] if any(part in name for part in ("Enhanced", "Multi-frame", "Tomosynthesis")) else None
