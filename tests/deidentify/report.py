"""``make deid-report``: the hostile corpus and the retention list through Consilium and other tools, as Markdown.

Prints what ``docs/deidentification-measured.md`` holds. Every other tool runs in an environment of its own, made once
below ``.cache``; Orthanc is Debian's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.deidentify.engine import Engine
from gateway.deidentify.errors import Refused
from gateway.deidentify.profile import load_profiles
from tests.deidentify import corpus, modalities, scoring
from tests.deidentify.benchmark import series
from tests.deidentify.corpus import Plant, Planted
from tests.deidentify.drivers import milliseconds
from tests.peers.orthanc import Orthanc

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "deid-report"
INSTANCES = 40
SPEED = {"private": "most elements private", "public": "few elements private"}


@dataclass(frozen=True)
class Tool:
    """A row of the table; `requirement` is installed for the driver of that name."""

    title: str
    driver: str
    requirement: str = ""


TOOLS = (
    Tool("Consilium, basic", "basic"),
    Tool("Consilium, clinical", "clinical"),
    Tool("dicognito 0.19.0", "dicognito", "dicognito==0.19.0"),
    Tool("deid 0.4.13", "deid", "deid==0.4.13"),
    Tool("deid 0.4.13, strict", "deid_strict", "deid==0.4.13"),
    Tool("dicom-anonymizer 2.1.0", "dicom_anonymizer", "dicom-anonymizer==2.1.0"),
    Tool("Orthanc", "orthanc"),
)


@dataclass
class Outcome:
    """What one tool gave back."""

    cleaned: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ms: Mapping[str, float] = field(default_factory=dict)


# --- the tools ---


def consilium(profile: str, objects: list[Planted], speed: Mapping[str, list[bytes]]) -> Outcome:
    """Our engine, in this process."""
    engine = Engine(b"a key of the report, of 32 bytes", load_profiles())
    outcome = Outcome()

    def clean(data: bytes) -> bytes:
        return engine.run(data, site_code="A", profile=profile).to_bytes()

    for planted in objects:
        try:
            outcome.cleaned[planted.name] = clean(planted.data)
        except Refused as refused:
            outcome.failed[planted.name] = refused.reason
    outcome.ms = {name: milliseconds(clean, instances) for name, instances in speed.items()}
    return outcome


def environment(requirement: str) -> Path:
    """Python of an environment that has only that tool, made where it is missing."""
    place = CACHE / requirement.replace("==", "-")
    done = place / ".installed"
    if not done.exists():
        sys.stderr.write(f"installing {requirement}\n")
        venv.create(place, with_pip=True, clear=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        installed = subprocess.run([*pip, requirement], capture_output=True, text=True)
        if installed.returncode:
            sys.exit(f"{requirement} could not be installed:\n{installed.stderr}")
        done.touch()
    return place / "bin" / "python"


def driven(tool: Tool, objects: list[Planted], speed: Mapping[str, list[bytes]], home: Path) -> Outcome:
    """A Python tool, in its own environment."""
    source, target, timed = (home / name for name in ("in", "out", "speed"))
    for folder in (source, target, *(timed / name for name in speed)):
        folder.mkdir(parents=True)
    names = {f"{number:03}.dcm": planted.name for number, planted in enumerate(objects)}
    for file, planted in zip(names, objects, strict=True):
        (source / file).write_bytes(planted.data)
    for name, instances in speed.items():
        for number, data in enumerate(instances):
            (timed / name / f"{number:03}.dcm").write_bytes(data)
    driver = Path(__file__).with_name("drivers.py")
    done = subprocess.run(
        [environment(tool.requirement), "-I", driver, tool.driver, source, target, timed],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=home,
    )
    answer = json.loads(done.stdout)
    return Outcome(
        {names[path.name]: path.read_bytes() for path in sorted(target.iterdir())},
        {names[file]: reason for file, reason in answer["failed"].items()},
        answer["ms"],
    )


def _ticks(pid: int) -> float:
    """Seconds of CPU time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def orthanc(objects: list[Planted], speed: Mapping[str, list[bytes]], home: Path) -> tuple[Outcome, str]:
    """Orthanc's ``/instances/{id}/anonymize`` with an empty body; its version comes with it."""
    outcome = Outcome()
    server = Orthanc(home, OverwriteInstances=True)
    try:
        version = str(server.get("/system")["Version"])

        def anonymise(identifier: str) -> bytes:
            answer = server._http.post(
                f"{server.url}/instances/{identifier}/anonymize", data="{}", timeout=60
            )
            answer.raise_for_status()
            return answer.content

        for planted in objects:
            try:
                outcome.cleaned[planted.name] = anonymise(server.upload([planted.data])[0])
            except Exception as error:
                outcome.failed[planted.name] = type(error).__name__
        times = {}
        for name, instances in speed.items():
            identifiers = server.upload(instances)
            start = _ticks(server._program.process.pid)
            for identifier in identifiers:
                anonymise(identifier)
            times[name] = (_ticks(server._program.process.pid) - start) / len(instances) * 1000
        outcome.ms = times
    finally:
        server.stop()
    return outcome, version


# --- the score ---


def judged(planted: Planted) -> list[Plant]:
    """Plants every tool is judged by: those that no option of any profile keeps."""
    return [plant for plant in planted.plants if plant.place not in corpus.OPTIONAL]


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(*cells: str) -> list[str]:
    return [row(*cells), "|" + "---|" * len(cells)]


def kept(objects: list[Planted], outcome: Outcome, kind: str) -> tuple[int, int]:
    """How many values of a kind survived, of how many; an object not given back keeps none."""
    survived = total = 0
    for planted in objects:
        keeps = [keep for keep in planted.keeps if keep.kind == kind]
        total += len(keeps)
        if planted.name in outcome.cleaned:
            survived += len(keeps) - len(scoring.lost(planted.data, outcome.cleaned[planted.name], keeps))
    return survived, total


def markdown(
    outcomes: Mapping[Tool, Outcome], objects: list[Planted], texts: list[Planted], version: str
) -> str:
    """The page."""
    names = [planted.name for planted in objects]
    leaks = {
        tool: {
            planted.name: scoring.leaked(outcome.cleaned[planted.name], judged(planted))
            for planted in objects
            if planted.name in outcome.cleaned
        }
        for tool, outcome in outcomes.items()
    }
    planted_ct, planted_all = len(judged(objects[0])), sum(len(judged(planted)) for planted in objects)
    ours = next(iter(outcomes.values())).ms
    kept_of = {kind: kept([*objects, *texts], Outcome(), kind)[1] for kind in ("technical", "clinical")}
    lines = _head(
        "tool",
        "objects given back",
        f"leaked, one CT (of {planted_ct})",
        f"leaked, all objects (of {planted_all})",
        f"technical values kept (of {kept_of['technical']})",
        f"clinical values kept (of {kept_of['clinical']})",
        f"links that hold (of {scoring.links(names)})",
    )
    for tool, outcome in outcomes.items():
        title = f"{tool.title} {version}" if tool.driver == "orthanc" else tool.title
        given = sum(name in outcome.cleaned for name in names)
        lines.append(
            row(
                title,
                f"{given} of {len(names)}",
                len(leaks[tool].get(names[0], ())) if names[0] in leaks[tool] else "–",
                sum(map(len, leaks[tool].values())),
                *(kept([*objects, *texts], outcome, kind)[0] for kind in ("technical", "clinical")),
                "–"
                if tool.driver == "orthanc"
                else scoring.links(names) - len(scoring.broken(outcome.cleaned, names)),
            )
        )
    speed = _head("tool", *(f"ms, {title}" for title in SPEED.values()), "times Consilium, basic")
    for tool, outcome in outcomes.items():
        ratios = " and ".join(f"{outcome.ms[name] / ours[name]:.1f}" for name in SPEED)
        speed.append(row(tool.title, *(f"{outcome.ms[name]:.2f}" for name in SPEED), ratios))
    by_object = _head("object", "plants", *(tool.title for tool in outcomes))
    for planted in objects:
        cells = [
            len(leaks[tool][planted.name])
            if planted.name in leaks[tool]
            else outcome.failed.get(planted.name, "–")
            for tool, outcome in outcomes.items()
        ]
        by_object.append(row(planted.name, len(judged(planted)), *cells))
    secrets = {secret for planted in objects for plant in judged(planted) for secret in plant.secrets}
    return TEXT.format(
        texts=len(texts),
        lines=len(corpus.KEPT),
        secrets=len(secrets),
        objects=len(objects),
        main="\n".join(lines),
        speed="\n".join(speed),
        by_object="\n".join(by_object),
        machine=f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
    )


TEXT = """# De-identification, measured

Printed by `make deid-report`; the corpus, the retention list and the score are `tests/deidentify/`: `corpus.py`,
`modalities.py`, `scoring.py`.

## What leaks, and what survives

{objects} generated objects hold {secrets} distinct identifying strings of one patient, her doctors and hospital:
attributes of Table E.1-1, nested and unlisted sequences, UN, private elements, free text with declined and
transliterated names, overlays, SR trees, functional groups, file meta information, preamble, unused bits, JPEG
segments. A place *leaks* if what was put there is found in the output: among its bytes in seven encodings, among the
parsed values at any depth, or in bits no image shows.

*Technical values* are those no profile touches (geometry, dose, codes, pixels). *Clinical values* are those that the
options of the profile `clinical` keep: age, sex, weight, times of day, descriptions beside what identifies, reports,
and {lines} lines of clinical language for each of {texts} patients, some of whom are called Head, Young or
Белый: they must come out whole. *Links* are references from object to object, one
Study Instance UID and one Patient ID over all objects. An object a tool does not give back leaks nothing and keeps
nothing.

{main}

Each tool runs as its documentation says for de-identification:

- **dicognito** as its command line does, one `Anonymizer` for all objects.
- **deid** `replace_identifiers` with its default recipe; *strict* also removes all sequences and all private elements.
- **dicom-anonymizer** `anonymize_dicom_file` with its default rules.
- **Orthanc** `POST /instances/{{id}}/anonymize` with an empty body. It maps UIDs within a call, and each call here
  is one instance, so links are not scored.

dicognito and deid leave descriptions alone, with whatever is in them. dicom-anonymizer and Orthanc implement the Basic
Profile: clinical values are not theirs to keep, compare them with *Consilium, basic*. deid removes Patient ID and every
UID by default, so no link is left to hold. None of them claims to find names in free text. The corpus is
ours, written to be hostile; objects of everyday scanners leak less with every tool. Burned in text is not part of it.

## Leaked places by object

{by_object}

## Speed

CPU time of one object of 512² with about 260 elements, bytes in, bytes out; Consilium's residual scan and Orthanc's
web server and storage are included. {machine}.

{speed}
"""


def main() -> None:
    objects = [*corpus.hostile_objects(), *modalities.hostile_modalities()]
    texts = scoring.texts()
    speed = {"private": series(INSTANCES), "public": series(INSTANCES, private=False)}
    outcomes: dict[Tool, Outcome] = {}
    version = ""
    for tool in TOOLS:
        sys.stderr.write(f"{tool.title}\n")
        with tempfile.TemporaryDirectory(prefix="consilium-deid-report-") as directory:
            if tool.requirement:
                outcomes[tool] = driven(tool, [*objects, *texts], speed, Path(directory))
            elif tool.driver == "orthanc":
                outcomes[tool], version = orthanc([*objects, *texts], speed, Path(directory))
            else:
                outcomes[tool] = consilium(tool.driver, [*objects, *texts], speed)
    sys.stdout.write(markdown(outcomes, objects, texts, version))


if __name__ == "__main__":
    main()
