# SPDX-License-Identifier: GPL-2.0-or-later
"""Data that goes between the guest's memory and a device: what the suites
share."""
import zlib

from guest import DISK, MIB
from memslots import bound_throughout


def checksum(data):
    """As the guest tells it"""
    return f'{len(data)} {zlib.crc32(data):08x}'


def assert_data_gets_through(guest, device, disk):
    """The guest reads what is in the image, and the image gets what the guest
    writes, to and from buffers of its own and its page cache."""
    with bound_throughout(guest):
        assert guest.do(f'sum {device} direct') == checksum(disk.read_bytes())
        written = guest.do(f'write {device} {DISK // 2} direct')
        data = disk.read_bytes()
        assert checksum(data[:DISK // 2 * MIB]) == written
        assert guest.do(f'sum {device}') == checksum(data)
        guest.do('verify')


def mappings_of_guest_memory(pid):
    with open(f'/proc/{pid}/maps') as maps:
        return maps.read().count('[kvm-gmem]')
