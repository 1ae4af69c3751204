"""The options of PS3.15 E.3: one entry each, bound to its column of Table E.1-1 and its DCM code (PS3.16 CID 7050)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the Basic Application Level Confidentiality Profile.

    Parameters
    ----------
    name
        As written in profiles, and the column of the table data.
    code, meaning
        Code Value and Code Meaning of the DCM scheme, written into De-identification Method Code Sequence (0012,0064).
    section
        Where PS3.15 defines it.
    declared
        Whether the engine may declare the code by itself; Clean Pixel Data is declared only once pixels were screened.
    """

    name: str
    code: str
    meaning: str
    section: str
    declared: bool = True


BASIC = Option("basic_profile", "113100", "Basic Application Confidentiality Profile", "E.2")

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("clean_pixel_data", "113101", "Clean Pixel Data Option", "E.3.1", declared=False),
        Option("clean_graphics", "113103", "Clean Graphics Option", "E.3.3"),
        Option("clean_structured_content", "113104", "Clean Structured Content Option", "E.3.4"),
        Option("clean_descriptors", "113105", "Clean Descriptors Option", "E.3.5"),
        Option(
            "retain_longitudinal_full_dates",
            "113106",
            "Retain Longitudinal Temporal Information Full Dates Option",
            "E.3.6",
        ),
        Option(
            "retain_longitudinal_modified_dates",
            "113107",
            "Retain Longitudinal Temporal Information Modified Dates Option",
            "E.3.6",
        ),
        Option("retain_patient_characteristics", "113108", "Retain Patient Characteristics Option", "E.3.7"),
        Option("retain_device_identity", "113109", "Retain Device Identity Option", "E.3.8"),
        Option("retain_uids", "113110", "Retain UIDs Option", "E.3.9"),
        Option("retain_safe_private", "113111", "Retain Safe Private Option", "E.3.10"),
        Option("retain_institution_identity", "113112", "Retain Institution Identity Option", "E.3.11"),
    )
}
