"""People at work on a running deployment, over real HTTP: a specialist's viewer (JSON API), a browser on the pages."""

from __future__ import annotations

import math
import re
from typing import Any

import requests

from tests.peers.gateway import PASSWORD, Running
from tests.peers.process import wait_until

Answer = dict[str, Any]


class Specialist:
    """What the viewer's script does for a consultant: the JSON API and DICOMweb, signed in with a token."""

    def __init__(self, running: Running, login: str = "consultant") -> None:
        self.url = running.url
        self.http = running.api(running.add_token(login))

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """A request of ``/api/v1`` whose answer has the status ``expect``."""
        answer = self.http.request(method, f"{self.url}/api/v1{path}", json=body, timeout=60)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def wait_for_one(self, *, state: str = "requested", instances: int = 0) -> Answer:
        """The only consultation of the worklist, once its study has so many instances."""
        found: list[Answer] = []

        def there() -> bool:
            found[:] = self.call("GET", f"/consultations?state={state}")["consultations"]
            return bool(found) and found[0]["study"]["instances"] >= instances

        wait_until(there, 60, f"a consultation that is {state}")
        (one,) = found
        return one

    def consultation(self, public_id: str) -> Answer:
        found: Answer = self.call("GET", f"/consultations/{public_id}")
        return found

    def dicomweb(self, path: str) -> Any:
        headers = {"Accept": "application/dicom+json"}
        answer = self.http.get(f"{self.url}/dicom-web{path}", headers=headers, timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def measure(self, public_id: str, *, label: str = "") -> Answer:
        """Draw a length over the middle of the study's first image; returns it as it is kept."""
        study = self.consultation(public_id)["study"]["study_instance_uid"]
        image = min(
            self.dicomweb(f"/studies/{study}/metadata"), key=lambda each: each["00200013"]["Value"][0]
        )
        points = [[40.5, 60.5], [70.5, 100.5]]
        world = [_in_patient(image, *point) for point in points]
        mark = {
            "tool": "length",
            "label": label,
            "series_instance_uid": image["0020000E"]["Value"][0],
            "sop_instance_uid": image["00080018"]["Value"][0],
            "frame": 1,
            "frame_of_reference_uid": image["00200052"]["Value"][0],
            "points_image": points,
            "points_world": world,
            "measurements": {"length": {"value": math.dist(*world), "unit": "mm"}},
            "backend": "cpu",
            "state": {},
        }
        kept: Answer = self.call("PUT", f"/consultations/{public_id}/annotations/length-1", mark)
        return kept

    def answer(
        self,
        public_id: str,
        conclusion: str,
        findings: str = "",
        recommendations: str = "",
        password: str = PASSWORD,
    ) -> Answer:
        """Draft and sign; the consultation after."""
        text = {"findings": findings, "conclusion": conclusion, "recommendations": recommendations}
        draft = self.call("PUT", f"/consultations/{public_id}/opinion", {"revision": 0, **text})
        signed: Answer = self.call(
            "POST",
            f"/consultations/{public_id}/sign",
            {"revision": draft["revision"], "password": password},
        )
        return signed


def _in_patient(image: Answer, column: float, row: float) -> list[float]:
    """A point on an image in the patient's coordinates, in mm (PS3.3 C.7.6.2.1.1); (0.5, 0.5) is the first pixel's."""
    position, direction = image["00200032"]["Value"], image["00200037"]["Value"]
    between_rows, between_columns = image["00280030"]["Value"]
    along_row, along_column = (column - 0.5) * between_columns, (row - 0.5) * between_rows
    return [
        position[axis] + direction[axis] * along_row + direction[axis + 3] * along_column for axis in range(3)
    ]


class Browser:
    """A browser without scripts: cookies, forms with their CSRF token, redirections as they come."""

    def __init__(self, running: Running, login: str = "", password: str = PASSWORD) -> None:
        self.url = running.url
        self.http = requests.Session()
        self.http.headers["Accept"] = "text/html"
        self.page = ""
        if login:
            answer = self.sign_in(login, password)
            assert answer.url.rstrip("/") != f"{self.url}/login", answer.text

    def get(self, path: str) -> requests.Response:
        return self._seen(self.http.get(self.url + path, timeout=60))

    def submit(self, path: str, **form: str) -> requests.Response:
        """Send a form of the page shown last."""
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.page)
        assert token, "the page has no form"
        return self._seen(self.http.post(self.url + path, data={"csrf_token": token[1], **form}, timeout=60))

    def sign_in(self, login: str, password: str = PASSWORD) -> requests.Response:
        self.get("/login")
        return self.submit("/login", login=login, password=password)

    def _seen(self, answer: requests.Response) -> requests.Response:
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            self.page = answer.text
        return answer
