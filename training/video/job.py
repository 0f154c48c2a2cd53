"""The job that a folder of results belongs to, so that interrupted work resumes and other results stay apart."""

import json
from collections.abc import Sequence
from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.files import write_json

_FILE = "job.json"
# Where unfinished work lies, inside the folder of the results.
WORK = ".work"


def begin(output: Path, job: dict, results: Sequence[str] = ()) -> Path:
    """Prepare a folder for results, and check that they can be put there.

    Args:
        output: the folder.
        job: all that the results depend on, as JSON.
        results: names of the files to come.

    Returns:
        Folder for unfinished work, maybe with that of an interrupted run of the same job.

    Raises:
        UserError: there are results of another job, or other things of these names; or the folder can't be made.
    """
    file, work = output / _FILE, output / WORK
    for name in results:
        if (output / name).is_dir() or (output / name).exists() and not file.exists():
            raise UserError(f"{output / name} is not of an earlier run: choose another --output-dir, or move it.")
    if file.exists():
        try:
            other = json.loads(file.read_text())
        except ValueError as error:
            raise UserError(f"{file} is damaged: choose another --output-dir, or remove that folder.") from error
        differing = [name for name in job if job[name] != other.get(name)]
        if differing:
            raise UserError(
                f"{output} holds the results of another run, which had another {' and another '.join(differing)}: "
                "choose another --output-dir, or remove that folder."
            )
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {output} can't be used for the results ({error.strerror}).") from error
    if not file.exists():
        write_json(file, job, indent=1)
    return work
