# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core files with a guest's memory in them: QEMU's own, or of the guest."""
import struct

PAGE = 4096
PT_LOAD = 1
# What tests/guest multiplies addresses with, backwards
UNMIX = pow(0x9e3779b97f4a7c15, -1, 1 << 64)


def is_pattern(page):
    """Each word is its address and a seed, mixed"""
    words = struct.unpack('<512Q', page)
    first = words[0] * UNMIX
    return all((words[n] * UNMIX ^ first) % (1 << 64) == 8 * n
               for n in (1, 2, 255, 511))


def segments(file):
    """(address, offset in the file, bytes in the file) of each"""
    header = struct.unpack('<16sHHIQQQIHHHHHH', file.read(64))
    offset, size, count = header[5], header[9], header[10]
    for n in range(count):
        file.seek(offset + n * size)
        kind, _, at, address, _, length, _, _ = struct.unpack(
            '<IIQQQQQQ', file.read(56))
        if kind == PT_LOAD:
            yield address, at, length


def pages_of_the_pattern(path, addresses=range(1 << 64)):
    """How many pages hold what the guest writes, in segments that begin at
    one of these addresses"""
    found = 0
    with open(path, 'rb') as file:
        for address, at, length in list(segments(file)):
            if address in addresses:
                file.seek(at)
                found += sum(is_pattern(file.read(PAGE))
                             for _ in range(length // PAGE))
    return found
