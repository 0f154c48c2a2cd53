"""Makes the CMake packages of the ROS wheels usable in this virtual environment.

The wheels' exported CMake targets name include folders of the machine that built them (`/opt/python/...`). They are
replaced by this Python's and this NumPy's own.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

REPLACEMENTS = {
    re.compile(r"/opt/python/[^;\" )]*/numpy/_core/include"): numpy.get_include(),
    re.compile(r"/opt/python/[^;\" )/]*/include/python[\d.]+"): sysconfig.get_path("include"),
}

for path in (Path(sys.prefix) / "share").rglob("*.cmake"):
    content = relocated = path.read_text()
    for built_path, own_path in REPLACEMENTS.items():
        relocated = built_path.sub(own_path, relocated)
    if relocated != content:
        new = path.with_suffix(".new")
        new.write_text(relocated)
        new.replace(path)
