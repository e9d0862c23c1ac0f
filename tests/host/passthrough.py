# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the host that a guest gets: what the suites share.  The host needs
them: tests/check says which."""
import os
import re

from guest import MIB
from memslots import HOLES

PCI = '/sys/bus/pci'
EDU = '0x1234', '0x11e8'
NVME = '0x1b36', '0x0010'
# Kernels whose iommufd maps a guest_memfd by file
MAPS_FILE = os.environ.get('GMEM_KERNEL_NAME') in ('gmem', 'gmem-debug')
# More mappings than the sections of a PC's memory map has nobody who maps each
# as a whole
SECTIONS = 12


def tell(path, text):
    with open(path, 'w') as file:
        file.write(text)


def identity(address):
    def read(name):
        with open(f'{PCI}/devices/{address}/{name}') as file:
            return file.read().strip()
    return read('vendor'), read('device')


def find(which):
    """The addresses of all that are this"""
    return sorted(address for address in os.listdir(f'{PCI}/devices')
                  if identity(address) == which)


def give_to(address, driver):
    """vfio-pci, or '' for the driver that it has otherwise"""
    folder = f'{PCI}/devices/{address}'
    if os.path.exists(f'{folder}/driver'):
        tell(f'{folder}/driver/unbind', address)
    tell(f'{folder}/driver_override', driver or '\n')
    tell(f'{PCI}/drivers_probe', address)


IOMMUFD = ['-object', 'iommufd,id=i0']


def device(address, how='iommufd', slot=5):
    """One of a guest, at 0000:00:SLOT.0"""
    properties = f'vfio-pci,host={address},addr={slot:02x}.0'
    return ['-device', properties + (',iommufd=i0' if how == 'iommufd' else '')]


def options(address, how='iommufd'):
    """For a QEMU with one of them"""
    return (IOMMUFD if how == 'iommufd' else []) + device(address, how)


def pinned(guest):
    """What Linux accounts to QEMU as pinned or locked, in bytes"""
    with open(f'/proc/{guest.get_pid()}/status') as status:
        return sum(int(kib) << 10 for kib in
                   re.findall(r'^Vm(?:Pin|Lck):\s*(\d+)', status.read(), re.M))


def container(guest):
    found, = guest.cmd('query-guest-memfd')['containers']
    return found


def assert_mapped_for_devices(guest, mib, by_file):
    """All of it, in few pieces, and pinned if that takes addresses"""
    found = container(guest)
    assert found['by-file'] == by_file
    assert abs(found['mapped-bytes'] - mib * MIB) < HOLES
    assert found['pinned-bytes'] == (0 if by_file else found['mapped-bytes'])
    assert found['mappings'] < SECTIONS
    if by_file:
        # the firmware's ROM is no guest_memfd
        assert pinned(guest) < MIB
    else:
        assert pinned(guest) >= found['mapped-bytes']
