# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of the host that is passed through reaches guest memory by DMA.
The host needs one: run --device=edu,dma_mask=0xffffffffffff"""
import os

import pytest
from dimms import DIMM, add_backend, add_dimm, guest_has_mib
from guest import wait_until
from memslots import assert_bound

PCI = '/sys/bus/pci'
EDU = '0x1234', '0x11e8'
HOTPLUGGED = 4 << 30    # where DIMMs lie


def tell(path, text):
    with open(path, 'w') as file:
        file.write(text)


def identity(address):
    def read(name):
        with open(f'{PCI}/devices/{address}/{name}') as file:
            return file.read().strip()
    return read('vendor'), read('device')


@pytest.fixture(scope='module')
def edu():
    """The address of an "edu" that vfio-pci has"""
    address = next((address for address in os.listdir(f'{PCI}/devices')
                    if identity(address) == EDU), None)
    if not address:
        pytest.skip('this host has no edu device')
    tell(f'{PCI}/devices/{address}/driver_override', 'vfio-pci')
    tell(f'{PCI}/drivers_probe', address)
    yield address
    tell(f'{PCI}/drivers/vfio-pci/unbind', address)
    tell(f'{PCI}/devices/{address}/driver_override', '\n')


@pytest.mark.parametrize('how', ['type1', 'iommufd'])
def test_a_device_reaches_all_memory_also_what_is_plugged_later(growing, edu,
                                                                how):
    options = {'type1': [f'vfio-pci,host={edu},addr=05.0'],
               'iommufd': [f'vfio-pci,host={edu},addr=05.0,iommufd=i0',
                           '-object', 'iommufd,id=i0']}[how]
    guest = growing('-device', *options)
    guest.do('dma 0000:00:05.0 0')
    small = guest_has_mib(guest)
    add_backend(guest, 'm1')
    add_dimm(guest, 'm1')
    wait_until(lambda: guest_has_mib(guest) >= small + DIMM)
    guest.do(f'dma 0000:00:05.0 {HOTPLUGGED:#x}')
    for block in guest.blocks():
        assert_bound(block)
    guest.do('verify')
