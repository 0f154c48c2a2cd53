"""Pickle files from elsewhere, read without running code that they may hold."""

import importlib
import pickle
from pathlib import Path

from metrabs_core.errors import UserError

# All that files of plain Python values and NumPy arrays need, in the names that Python 2 and 3, NumPy 1 and 2 write.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(
        (module, name)
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "complex", "bytearray")
    ),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if module == "__builtin__":
            return super().find_class("builtins", name)
        if module.startswith("numpy.core."):  # NumPy 2 warns of its own old name
            try:
                return getattr(importlib.import_module(module.replace(".core.", "._core.")), name)
            except ImportError:
                pass
        return super().find_class(module, name)


def load_pickle(path: Path):
    """Read a pickle file of plain values and NumPy arrays, also one that Python 2 wrote.

    Raises:
        UserError: there is no such file; it is no pickle file, damaged, or asks for anything else, which could run
            code.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    except Exception as error:  # damaged files raise anything
        raise UserError(f"{path} is not a pickle file of plain values and arrays ({error}).") from error
