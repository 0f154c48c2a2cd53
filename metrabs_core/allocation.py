"""How the process gets its memory from the operating system."""

import ctypes

# Of glibc's mallopt
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep memory that is freed for what comes next, instead of giving it back to the operating system.

    glibc gives large blocks back as soon as they are freed. A network frees its maps in every call, and for the next
    call the system has to find and clear the same pages again, which can take as long as the computing.

    This concerns the whole process, so it is for programs, at their start, and not for a library. It does nothing where
    the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_ARENA_MAX, 2)):
            mallopt(parameter, value)
