"""MATLAB files, version 5."""

from pathlib import Path

import numpy as np
import scipy.io

from metrabs_core.errors import UserError


def load(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB 5 file, structures as objects, nothing squeezed.

    Raises:
        UserError: the file is damaged, of another version, or lacks a variable.
    """
    try:
        content = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=False, variable_names=names)
        return [content[name] for name in names]
    except OSError:
        raise
    except Exception as error:  # the library raises whatever it meets in a damaged file
        raise UserError(f"{path} is damaged or no MATLAB 5 file with {' and '.join(names)}: {error!r}.") from error


def scalar(value, default=None):
    """The only element of nested 1 x 1 arrays; the default if there is none."""
    while isinstance(value, np.ndarray):
        if value.size != 1:
            return default
        value = value.flat[0]
    return value
