"""Tables as Markdown, numbers as JSON, and the places in the documentation where tables belong."""

import datetime
import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass
class Table:
    """A table with a title and a sentence below it. Cells are text."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def markdown(tables: list[Table]) -> str:
    """Tables as Markdown that is aligned for reading as text, too."""
    parts = []
    for table in tables:
        lines = [table.header, *table.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
        lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
        body = []
        for line in lines:
            cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
            body.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join([f"**{table.title}**", "", *body, *(["", table.note] if table.note else [])]))
    return "\n\n".join(parts)


def machine() -> dict:
    """What the numbers depend on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("tensorflow_cpu", "keras", "numpy")},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def in_words(machine: dict) -> str:
    """One line about the machine; other work on it is told, as it makes everything slower."""
    words = (
        f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores of {machine['processor']}, "
        f"Python {machine['python']}, TensorFlow {machine['tensorflow_cpu']}."
    )
    if machine["load_before"] > 0.5:
        words += f" **Other programs were running** (load {machine['load_before']} before the start)."
    return words


def write_json(path: Path, numbers: dict) -> None:
    """Write all numbers."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(numbers, indent=2) + "\n")
    temporary.replace(path)


def update_docs(path: Path, section: str, text: str, machine: dict) -> None:
    """Put a section's tables between its two marks.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- begin benchmark {section} -->", f"<!-- end benchmark {section} -->"
    document = path.read_text()
    if document.count(begin) != 1 or document.count(end) != 1:
        raise ValueError(f"{path} has no place for the section {section}: {begin} and {end}.")
    before, rest = document.split(begin)
    _, after = rest.split(end)
    command = f"`python -m benchmark {section}`: {in_words(machine)}"
    path.write_text(f"{before}{begin}\n{command}\n\n{text}\n{end}{after}")
