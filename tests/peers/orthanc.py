"""A real Orthanc: a hospital's PACS that sends studies and takes opinions back."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom
import requests

from tests.peers.process import Program, free_ports, need, wait_until

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins")


class Orthanc:
    """One Orthanc with its REST API.

    Parameters
    ----------
    modalities
        Name → (AE title, host, port) of those it may send to and query.
    dicomweb
        Load the DICOMweb plugin (``/dicom-web/``).
    """

    def __init__(
        self,
        directory: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: dict[str, tuple[str, str, int]] | None = None,
        dicomweb: bool = False,
        **configuration: Any,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ae_title = ae_title
        self.dicom_port, self.http_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        settings: dict[str, Any] = {
            "Name": ae_title,
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": ae_title,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "AuthenticationEnabled": False,
            "StableAge": 1,
            "SynchronousCMove": True,
            "DicomModalities": {name: list(where) for name, where in (modalities or {}).items()},
            "Plugins": [str(DICOMWEB_PLUGIN)] if dicomweb else [],
        } | configuration
        (directory / "orthanc.json").write_text(json.dumps(settings))
        self._http = requests.Session()
        self._program = Program(
            [need("Orthanc", "Debian orthanc"), directory / "orthanc.json"],
            directory / "orthanc.log",
            environ={**os.environ, "TCP_NODELAY": "1"},
        )
        self._program.wait_ready(self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/system", timeout=2).ok
        except requests.RequestException:
            return False

    # --- REST ---

    def get(self, path: str) -> Any:
        answer = self._http.get(self.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, content: Any) -> Any:
        data = content if isinstance(content, bytes) else json.dumps(content)
        answer = self._http.post(self.url + path, data=data, timeout=300)
        answer.raise_for_status()
        return answer.json()

    def know(self, name: str, ae_title: str, port: int, host: str = "127.0.0.1") -> None:
        """Add or replace a modality."""
        self._http.put(
            f"{self.url}/modalities/{name}", json=[ae_title, host, port], timeout=30
        ).raise_for_status()

    # --- what it holds ---

    def upload(self, files: Iterable[bytes | Path]) -> list[str]:
        """Put Part 10 files into it; returns Orthanc's instance ids."""
        return [self.post("/instances", f.read_bytes() if isinstance(f, Path) else f)["ID"] for f in files]

    def instances(self) -> list[str]:
        found: list[str] = self.get("/instances")
        return found

    def file(self, instance: str) -> bytes:
        """The stored Part 10 file of an instance."""
        answer = self._http.get(f"{self.url}/instances/{instance}/file", timeout=60)
        answer.raise_for_status()
        return answer.content

    def datasets(self) -> list[pydicom.Dataset]:
        """Everything it holds."""
        return [pydicom.dcmread(io.BytesIO(self.file(i))) for i in self.instances()]

    def wait_for(self, count: int, timeout: float = 60) -> list[pydicom.Dataset]:
        """Wait until it holds at least ``count`` instances and return them."""
        wait_until(lambda: len(self.instances()) >= count, timeout, f"{count} instances in {self.ae_title}")
        return self.datasets()

    # --- as SCU ---

    def echo(self, modality: str) -> bool:
        return self._http.post(f"{self.url}/modalities/{modality}/echo", data="{}", timeout=60).ok

    def send(self, modality: str, resources: Iterable[str], **options: Any) -> dict[str, Any]:
        """C-STORE resources to a modality, synchronously; returns Orthanc's summary (``FailedInstancesCount``…)."""
        wanted = {"Resources": list(resources), "Synchronous": True} | options
        summary: dict[str, Any] = self.post(f"/modalities/{modality}/store", wanted)
        return summary

    def stop(self) -> None:
        self._http.close()
        self._program.kill()  # its own end takes seconds, and nobody reads its storage again
