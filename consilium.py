"""The command line, and the one place that imports every room.

Each room brings its own commands (``commands`` of `storage.commands`, `gateway.commands`, `viewer.commands`).
Modules are imported when a command runs, so that ``consilium --help`` is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config import __version__
from config.cli import with_settings
from config.errors import ConfigurationError, ConsiliumError, Invalid

if TYPE_CHECKING:
    from flask import Flask

    from config.settings import Settings

ROOMS = ("storage.commands", "gateway.commands", "viewer.commands")

WRONG_INPUT = 2  # the caller has to change something: settings, arguments
FAILED = 1
INTERRUPTED = 130


class Wiring:
    """Hands each room what it may have of the others."""

    @staticmethod
    def web_app(settings: Settings) -> Flask:
        """The web application; only its pages for referring doctors are handed the vault, and only the review page
        the quarantine."""
        from gateway.opening import open_gateway
        from gateway.review.reviewer import make_reviewer
        from viewer.app import create_app

        gateway = open_gateway(settings)
        return create_app(
            settings,
            gateway.storage,
            ingest=gateway.ingest.store,
            identities=gateway.vault,
            report_pdf=gateway.reports.pdf,
            clean_text=gateway.clean_text,
            reviewer=make_reviewer(settings, gateway),
        )


class CommandLine(click.Group):
    """A group whose errors are one clear line each."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **extra)
        except click.ClickException as problem:
            problem.show()
            sys.exit(problem.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("consilium: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except ConsiliumError as problem:
            click.echo(f"consilium: {problem}", err=True)
            sys.exit(WRONG_INPUT if isinstance(problem, ConfigurationError | Invalid) else FAILED)
        except BrokenPipeError:
            # The reader (head, less) has gone; say nothing into the closed pipe at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except Exception as problem:
            from config.logs import safe_traceback

            click.echo(safe_traceback(problem), err=True)
            click.echo("consilium: this is a fault of the program; the lines above tell where", err=True)
            sys.exit(FAILED)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="consilium")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The settings file; else $CONSILIUM_CONFIG, else consilium.toml in $CONSILIUM_HOME.",
)
@click.pass_context
def main(context: click.Context, config_path: Path | None) -> None:
    """DICOM exchange gateway for tele-consultation."""
    context.obj = Wiring()
    if config_path is not None:
        # Through the environment, so that processes started from this one read the same file.
        os.environ["CONSILIUM_CONFIG"] = str(config_path.absolute())


@main.command("settings")
@click.option("--markdown", is_flag=True, help="The reference of every setting, as docs/settings.md.")
@click.option("--check", is_flag=True, help="Only say whether the settings are right.")
def show_settings(markdown: bool, check: bool) -> None:
    """Show the settings in force, secrets left out."""
    from config import reference
    from config.settings import load

    if markdown:
        click.echo(reference.markdown(), nl=False)
        return
    loaded = load()
    click.echo("the settings are right" if check else reference.in_force(loaded), nl=check)


@main.command()
@with_settings
def serve(settings: Settings) -> int:
    """Receive, serve the pages and do the work: `dicom`, `web` and `worker` in one supervised group."""
    from gateway.server import check_port_is_free
    from gateway.supervisor import Supervisor, programs
    from storage.keys import Keys

    settings.prepare_home()
    Keys.load(settings.vault_key_file)  # one clear word here instead of one from each program
    check_port_is_free(settings.dicom_host, settings.dicom_port)
    check_port_is_free(settings.http_host, settings.http_port)
    return Supervisor(programs(["dicom", "web", "worker"], settings.dicom_processes)).run()


for _room in ROOMS:
    for _command in importlib.import_module(_room).commands:
        main.add_command(_command)

if __name__ == "__main__":
    main()
