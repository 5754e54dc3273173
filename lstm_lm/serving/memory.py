"""Settings of the C library's allocator that keep the service small."""

import ctypes
import platform

# from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_MMAP_THRESHOLD_BYTES = 2 * 2**20
_TRIM_THRESHOLD_BYTES = 4 * 2**20


def configure_malloc() -> None:
    """Make glibc return freed memory to the system; does nothing with other C libraries.

    All threads share two arenas; by default each thread has its own and keeps its largest past size. Arrays above
    2 MiB, such as a batch of logits, are mapped on their own and unmapped when freed; by default the first freed one
    raises that threshold to its size, and later ones stay in the heap. Measured after load from 32 clients: 350 MB
    by default, 260 to 280 MB with two arenas, 220 to 245 MB with both.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
