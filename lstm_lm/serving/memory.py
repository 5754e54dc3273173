"""Keeping the service small."""

import ctypes
import platform

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads take memory from two arenas, where the C library is glibc.

    By default each thread keeps one of its own with whatever it once needed: after load from 32 clients the service
    held 350 MB instead of 240 MB, at no more requests a second.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
