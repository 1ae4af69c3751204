"""The de-identification page of the documentation, generated from the code that does the work.

``python -m gateway.deidentify.describe > docs/deidentification.md``; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from gateway.deidentify.errors import REASONS
from gateway.deidentify.options import BASIC, OPTIONS
from gateway.deidentify.plan import Plan
from gateway.deidentify.profile import Profile, load_profiles
from gateway.deidentify.standard import confidentiality_table, content_table, edition, safe_private
from gateway.deidentify.structured import content_code
from gateway.deidentify.wire import tag_text

_INTRODUCTION = """# De-identification

This page is generated from the code (`python -m gateway.deidentify.describe`); a test holds the two together.

The plan is compiled from PS3.15 Table E.1-1, edition {edition} ({rows} attributes), Table E.3.4-1 ({items}
content items) and Table E.3.10-1 ({private} safe private attributes), from a supplement of attributes those
tables do not list (marked +), and from rules by VR for everything else. Sequences are entered everywhere,
listed or not, also where they hide in UN.

- X, Z and D by the attribute's Type in its IOD (PS3.3): where the table says X but the IOD requires a value, it
  is emptied (Type 2) or replaced (Type 1), so a valid object stays valid. The tables below show the action
  without an IOD.
- Where options disagree, C wins over K: a calibration date of a retained device is still shifted.
- C for dates: moved by one number of whole days per patient. C for text: searched and cleaned. C for AE titles:
  a pseudonym. C for binary values and for graphics: removed, because they cannot be cleaned with certainty.
- UIDs become `2.25.…` under the deployment's key; UIDs of PS3.6 stay.
- Overlay and curve groups, group lengths, private elements that are not safe, data after the pixel data:
  removed. Encapsulated documents and attributes no dictionary knows: the instance is refused.
- Attributes outside the tables, by VR: PN and UR as X/Z/D; DA, DT, TM as dates; UI mapped unless it names a
  class; ST, LT, UT as descriptions; other text, OB, OW, UN kept and searched by the residual scan; numbers kept
  if they are numbers.
- Text leaves in ISO_IR 192; the hospital's bytes are kept in the vault.
- After the plan, everything kept is searched for the identity that went, in every form of name, identifier,
  date, address and phone number (`gateway/deidentify/residual.py`); what cannot be cleaned is refused.
"""


def _profiles(profiles: dict[str, Profile]) -> Iterator[str]:
    yield "## Profiles\n"
    yield "| option | code | PS3.15 | " + " | ".join(profiles) + " |"
    yield "|---|---|---|" + "---|" * len(profiles)
    yield f"| {BASIC.meaning} | {BASIC.code} | {BASIC.section} |" + " yes |" * len(profiles)
    for option in OPTIONS.values():
        chosen = " | ".join("yes" if option.name in profile.options else "" for profile in profiles.values())
        yield f"| {option.meaning} | {option.code} | {option.section} | {chosen} |"
    yield ""
    for profile in profiles.values():
        yield f"- **{profile.name}**: {profile.description}"
    yield ""
    yield "113101 is written only once the pixels were screened.\n"


def _attributes(profiles: dict[str, Profile]) -> Iterator[str]:
    yield "## Attributes\n"
    yield "| tag | attribute | table | " + " | ".join(profiles) + " |"
    yield "|---|---|---|" + "---|" * len(profiles)
    plans = [Plan(profile) for profile in profiles.values()]
    for tag, row in sorted(confidentiality_table().items()):
        actions = " | ".join(plan.described(tag) for plan in plans)
        name = row.name.replace("|", "/").split(" (see Note")[0]
        yield f"| {tag_text(tag)} | {name}{' +' if row.supplement else ''} | {row.basic} | {actions} |"
    yield ""


def _content(profiles: dict[str, Profile]) -> Iterator[str]:
    yield "## Content items\n"
    yield "| concept | value type | table | " + " | ".join(profiles) + " |"
    yield "|---|---|---|" + "---|" * len(profiles)
    for (code, scheme, value_type), rule in sorted(content_table().items()):
        actions = " | ".join(content_code(rule, profile.options) for profile in profiles.values())
        yield f"| ({code}, {scheme}) | {value_type} | {rule.basic} | {actions} |"
    yield ""


def _reasons() -> Iterator[str]:
    yield "## Why an instance is refused\n"
    yield "| reason | meaning |"
    yield "|---|---|"
    for reason, meaning in REASONS.items():
        yield f"| `{reason}` | {meaning} |"


def page() -> str:
    """The whole page as Markdown."""
    profiles = load_profiles()
    introduction = _INTRODUCTION.format(
        edition=edition(),
        rows=sum(not row.supplement for row in confidentiality_table().values()),
        items=len(content_table()),
        private=len(safe_private()),
    )
    lines = [*_profiles(profiles), *_attributes(profiles), *_content(profiles), *_reasons()]
    return introduction + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
