"""The web server of one node: gunicorn with threads, started from code, so that settings are its only configuration.

One process with threads: requests wait for disks and databases, not for the interpreter, and decoding releases it. More
processes are more nodes. Nothing is logged per request: an address bar may hold whatever somebody pasted into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from config.settings import Settings

GRACE = 30
"""Seconds a request may still take after the server was told to stop."""


class ChainedLogger(Logger):
    """Gunicorn's loggers without handlers of their own: what they say goes through the chain of `config.logs`."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


class WebServer(BaseApplication):
    """Gunicorn serving one application.

    Parameters
    ----------
    settings
        Where to listen and with how many threads.
    make_app
        Called in the worker process, after the fork: no connection is shared between processes.
    """

    def __init__(self, settings: Settings, make_app: Callable[[], Flask]) -> None:
        self._settings = settings
        self._make_app = make_app
        super().__init__()

    def load_config(self) -> None:
        host = self._settings.http_host
        options: dict[str, Any] = {
            "bind": f"[{host}]:{self._settings.http_port}"
            if ":" in host
            else f"{host}:{self._settings.http_port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._settings.http_threads,
            "timeout": 120,
            "graceful_timeout": GRACE,
            "keepalive": 15,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,
            "control_socket_disable": True,  # nothing is managed through it, and two nodes would share it
            "forwarded_allow_ips": "",  # `viewer.security.TrustLocalProxy` decides whom to believe
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "logger_class": ChainedLogger,
            "proc_name": "consilium web",
            "worker_tmp_dir": str(self._settings.tmp_dir) if self._settings.tmp_dir.is_dir() else None,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._make_app()


def serve(settings: Settings, make_app: Callable[[], Flask]) -> None:
    """Serve until told to stop by SIGTERM or SIGINT."""
    WebServer(settings, make_app).run()
