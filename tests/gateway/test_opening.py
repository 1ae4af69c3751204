"""What a process loads: a receiver starts quickly and stays small."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.opening import Gateway

LOADED = "import sys, gateway.opening, gateway.server; print(*{'highdicom', 'reportlab', 'flask'} & {*sys.modules})"


def test_a_receiver_loads_neither_reports_nor_pages() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_reports_and_delivery_are_there_when_asked_for(gateway: Gateway) -> None:
    assert gateway.deliverer.reports is gateway.reports
    assert gateway.deliverer.run_due() == 0
