"""The shape of the code: which room may import which, how long a module may be, what the README promises."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import consilium

ROOT = Path(__file__).parents[1]
ROOMS = {
    "config": set(),
    "storage": {"config"},
    "gateway": {"config", "storage"},
    "viewer": {"config", "storage"},
}
"""Each room, and the rooms it may import."""

LONGEST = 400  # lines that are not blank; a module is one idea, about 300


def modules() -> dict[str, Path]:
    found = {"consilium": ROOT / "consilium.py"}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "node_modules" in path.parts or "versions" in path.parts:
                continue
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, top_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """Modules of ours that a module imports, with the line; type-checking blocks do not count as running code."""
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(child for statement in node.body for child in ast.walk(statement))
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            skipped.update(child for child in ast.walk(node) if child is not node)
    for node in ast.walk(tree):
        if top_level_only and node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield (deeper if deeper in MODULES else base), node.lineno


def test_rooms_import_one_way() -> None:
    wrong = []
    for name in MODULES:
        room = name.partition(".")[0]
        if room == "consilium":
            continue
        for target, line in imports(name):
            other = target.partition(".")[0]
            if other == "consilium" or (other in ROOMS and other != room and other not in ROOMS[room]):
                wrong.append(f"{MODULES[name].relative_to(ROOT)}:{line} imports {target}")
            if other == "tests":
                wrong.append(f"{MODULES[name].relative_to(ROOT)}:{line} imports the tests")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        name: {
            target for target, _ in imports(name, top_level_only=True) if target in MODULES and target != name
        }
        for name in MODULES
    }
    # A package's __init__ that gathers its own submodules is not a cycle with them.
    graph = {name: {t for t in targets if not name.startswith(f"{t}.")} for name, targets in graph.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            pytest.fail("a cycle: " + " → ".join([*path[path.index(name) :], name]), pytrace=False)
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_modules_stay_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in MODULES.values()
        if (count := sum(bool(line.strip()) for line in path.read_text("utf-8").splitlines())) > LONGEST
    ]
    assert not long, "\n".join(long)


def test_nothing_prints_or_logs_around_the_chain() -> None:
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(f"{where} prints")
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "logging.getLogger"
                and name != "config.logs"
            ):
                wrong.append(f"{where} uses logging directly")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    text = MODULES[name].read_text("utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text), f"{name} has something left to do"
    assert "NotImplementedError" not in re.sub(r"except[^:]*:|\([^)]*NotImplementedError[^)]*\)", "", text), (
        name
    )


def test_every_module_can_be_imported() -> None:
    for name in MODULES:
        if not name.endswith(("__main__", "env")):
            importlib.import_module(name)


# --- what the README says ---


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    lines = [
        line
        for block in re.findall(r"```(?:sh|bash|console|)\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    commands = [line.strip().removeprefix("$ ") for line in lines]
    return [c for c in commands if re.match(r"(make|\.venv/bin/consilium|consilium)\b", c)]


def test_commands_of_the_readme_exist() -> None:
    commands = readme_commands()
    assert {"make run", "make test"} <= {c.split("#")[0].strip() for c in commands}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in commands:
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert all(w in targets for w in words[1:] if re.fullmatch(r"[a-z]+", w)), line
            continue
        command: click.Command = consilium.main
        context = click.Context(command, info_name="consilium")
        for word in words[1:]:
            if not isinstance(command, click.Group):
                break
            found = command.get_command(context, word)
            assert found is not None, f"{line}: there is no {word}"
            command = found
        options = {
            o for p in command.params if isinstance(p, click.Option) for o in (*p.opts, *p.secondary_opts)
        }
        given = {w.partition("=")[0] for w in words if w.startswith("--")}
        assert given <= options | {"--help"}, f"{line}: {given - options}"


def test_make_knows_its_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "run", "test", "check", "bench", "docs"):
        assert f"make {target} " in done.stdout
