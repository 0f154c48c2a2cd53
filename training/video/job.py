"""What a folder of results is about, so that interrupted work is taken up and other results are not mixed in."""

import json
from pathlib import Path

from metrabs_core.errors import UserError

_FILE = "job.json"
# Where unfinished work lies, inside the folder of the results.
WORK = ".work"


def begin(output: Path, job: dict) -> Path:
    """Prepare a folder for results.

    Args:
        output: the folder.
        job: all that the results depend on, as JSON.

    Returns:
        Folder for unfinished work, maybe with that of an interrupted run of the same job.

    Raises:
        UserError: there are results of another job.
    """
    file, work = output / _FILE, output / WORK
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
    work.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        (work / _FILE).write_text(json.dumps(job, indent=1) + "\n")
        (work / _FILE).replace(file)
    return work
