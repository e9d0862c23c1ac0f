# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host's kernel sees of memory through its direct map."""
import re
import struct

PAGE = 4096


def addresses(guest, start, size):
    """Where in the host's memory pages of the guest's only guest_memfd are;
    QEMU has touched all of them"""
    with open(f'/proc/{guest.get_pid()}/maps') as maps:
        base = int(re.search(r'^([0-9a-f]+)-.*\[kvm-gmem\]', maps.read(),
                             re.M)[1], 16)
    with open(f'/proc/{guest.get_pid()}/pagemap', 'rb') as pagemap:
        pagemap.seek((base + start) // PAGE * 8)
        entries = struct.unpack(f'<{size // PAGE}Q',
                                pagemap.read(size // PAGE * 8))
    assert all(entry >> 63 for entry in entries)
    return [(entry & (1 << 55) - 1) * PAGE for entry in entries]


def kernel_memory(core):
    """(address, size, offset in the file) of what /proc/kcore has of memory"""
    header = struct.unpack('<16sHHIQQQIHHHHHH', core.read(64))
    core.seek(header[5])
    for _ in range(header[10]):
        kind, _, offset, _, address, size, _, _ = struct.unpack(
            '<IIQQQQQQ', core.read(56))
        if kind == 1 and address < 1 << 52:
            yield address, size, offset


def pages_seen(where, pages):
    """How many of these pages the kernel sees at these addresses"""
    seen = 0
    with open('/proc/kcore', 'rb', buffering=0) as core:
        segments = list(kernel_memory(core))
        for address, page in zip(where, pages):
            for start, size, offset in segments:
                if start <= address < start + size:
                    core.seek(offset + address - start)
                    seen += core.read(PAGE) == page
    return seen
