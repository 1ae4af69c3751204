"""A real Chromium, headless, with WebGL in software."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.peers.process import need

FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WITHOUT_WEBGL = ("--disable-gpu", "--disable-3d-apis")


@contextmanager
def chromium(*extra: str) -> Iterator[Browser]:
    """A browser; ``*WITHOUT_WEBGL`` takes the GPU away from it."""
    path = need("chromium", "Debian chromium")
    flags = [
        f for f in FLAGS if extra != WITHOUT_WEBGL or not f.startswith(("--use-angle", "--enable-unsafe"))
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=[*flags, *extra])
        try:
            yield browser
        finally:
            browser.close()
