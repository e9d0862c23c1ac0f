# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest_memfd of a QEMU has: pages in the file, and in QEMU's own page
table."""
import ctypes
import mmap
import os
import re

PAGE = 4096
PIDFD_GETFD = 438
LIBC = ctypes.CDLL(None, use_errno=True)


def check(result):
    """Of a function of the C library"""
    if result < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    return result


def pages_in(file, size):
    """How many have been touched: a shared mapping tells, and asks for none"""
    with mmap.mmap(file, size) as shared:
        start = ctypes.addressof(ctypes.c_char.from_buffer(shared))
        present = ctypes.create_string_buffer(size // PAGE)
        check(LIBC.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size),
                           present))
    return sum(byte & 1 for byte in present.raw)


def guest_memfds(pid):
    """(descriptor there, size) of each"""
    folder = f'/proc/{pid}/fd'
    return [(int(fd), os.stat(f'{folder}/{fd}').st_size)
            for fd in os.listdir(folder)
            if 'kvm-gmem' in os.readlink(f'{folder}/{fd}')]


def bytes_touched(pid, size):
    """Of the only guest_memfd of that size, by a guest or by QEMU: pages that
    are only allocated do not count.  It cannot be opened by its name in /proc,
    so its descriptor is taken."""
    number, = {fd for fd, its_size in guest_memfds(pid) if its_size == size}
    process = os.pidfd_open(pid)
    try:
        file = check(LIBC.syscall(PIDFD_GETFD, process, number, 0))
    finally:
        os.close(process)
    try:
        return pages_in(file, size) * PAGE
    finally:
        os.close(file)


def mapping(pid, size):
    """What smaps says of QEMU's only mapping of a guest_memfd of that size: a
    dictionary, with the addresses under 'range'"""
    with open(f'/proc/{pid}/smaps') as smaps:
        areas = re.split(r'^(?=[0-9a-f]+-[0-9a-f]+ )', smaps.read(),
                         flags=re.M)
    found, = [area for area in areas
              if 'kvm-gmem' in area.partition('\n')[0] and
              re.search(rf'^Size: *{size >> 10} kB', area, re.M)]
    addresses = re.match('([0-9a-f]+)-([0-9a-f]+)', found).groups()
    return {'range': [int(address, 16) for address in addresses],
            **dict(re.findall(r'^(\w+): *(.*?)(?: kB)?\s*$', found, re.M))}


def bytes_in_page_table(pid, size):
    """How much of it QEMU itself has touched"""
    return int(mapping(pid, size)['Rss']) << 10
