# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the host and pages that turn private and back: shared pages are
always right, private ones are out of reach."""
import re
import subprocess

import pytest
from bare import FREE
from conversions import EBUSY, IN_PLACE, PAGE, each_shape, with_two
from guest import wait_until
from marks import long
from passthrough import (SECTIONS, assert_mapped_for_devices, container,
                         device, options, IOMMUFD)

EIO = -5
# A slot that no guest has switched on gives its device up at once
UNPLUGS = ['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off']
PAGES = [FREE + n * PAGE for n in range(8)]


def last_fault_of_iommu():
    """What the host's kernel said of it, and when"""
    log = subprocess.run(['dmesg'], stdout=subprocess.PIPE, check=True,
                         text=True).stdout
    return re.findall(r'^.*DMAR: \[DMA .*', log, re.M)[-1:]


def assert_faults(access):
    """Its kernel says ten in 5 s at most, so once may not be enough."""
    before = last_fault_of_iommu()

    def has_faulted():
        access()
        return last_fault_of_iommu() != before
    wait_until(has_faulted)


def same(guest, one, other):
    return guest.do(f'sum {one} {PAGE}')['crc'] == \
        guest.do(f'sum {other} {PAGE}')['crc']


def convert_neighbours(guest, pages=(1, 3, 5)):
    """There and back; few more mappings with each"""
    for to, order in ('private', pages), ('shared', reversed(pages)):
        for nth in order:
            before = container(guest)['mappings']
            assert guest.convert(PAGES[nth], PAGE, to) == 0
            assert container(guest)['mappings'] <= before + 2


def assert_cannot_reach(guest, private, shared):
    """What is in the private page neither gets out nor changes"""
    guest.do(f'fill {private} {PAGE} seed=2')
    guest.do(f'fill {shared} {PAGE} seed=3')
    guest.do(f'dma out {shared} {PAGE}')
    assert_faults(lambda: guest.do(f'dma in {private} {PAGE}'))
    guest.do(f'dma out {private} {PAGE}')
    guest.do(f'verify {private} {PAGE} seed=2')


@each_shape
@pytest.mark.parametrize('cpus', [1, 2])
def test_pages_turn_under_dma(protect_bare, edu, shape, cpus):
    """Those between shared ones, which the device copies meanwhile"""
    guest = protect_bare(*options(edu), cpus=cpus)
    assert_mapped_for_devices(guest, 64, shape == IN_PLACE)
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    if cpus == 2:
        guest.start(f'@1 dma copy {PAGES[2]} {PAGES[4]} {PAGE} repeat=0')
        for _ in range(5):
            convert_neighbours(guest)
        guest.finish('@1', stop=True)
    else:
        for way, page in ('in', PAGES[2]), ('out', PAGES[4]):
            guest.do(f'dma {way} {page} {PAGE} wait=0')
            convert_neighbours(guest)
    if cpus == 1:
        guest.do(f'dma in {PAGES[0]} {PAGE}')   # waits for the other
    assert same(guest, PAGES[2], PAGES[4])
    assert container(guest)['revocations'] == (15 if cpus == 2 else 6)

    assert guest.convert(PAGES[3], PAGE, 'private') == 0
    assert_cannot_reach(guest, PAGES[3], PAGES[4])
    assert guest.convert(PAGES[3], PAGE, 'shared') == 0
    guest.do(f'fill {PAGES[2]} {PAGE} seed=4')
    guest.do(f'dma copy {PAGES[2]} {PAGES[3]} {PAGE}')
    assert same(guest, PAGES[2], PAGES[3])
    # a reset leaves no page private, and all of them mapped
    assert guest.convert(PAGES[1], 4 * PAGE, 'private') == 0
    guest.cmd('system_reset')
    guest.wait_ready()
    guest.do(f'fill {PAGES[1]} {PAGE} seed=5')
    guest.do(f'dma copy {PAGES[1]} {PAGES[2]} {PAGE}')
    assert same(guest, PAGES[1], PAGES[2])


def assert_as_large_as_conversions_allow(guest, by_file):
    before = container(guest)['mappings']
    assert guest.convert(FREE, 512 * PAGE, 'private') == 0
    assert container(guest)['mappings'] == before + (0 if by_file else 1)
    assert guest.convert(FREE, 512 * PAGE, 'shared') == 0
    assert container(guest)['mappings'] == before + (0 if by_file else 2)
    assert guest.convert(FREE - 4 * PAGE, 8 * PAGE, 'private') == 0
    assert container(guest)['mappings'] == before + (0 if by_file else 2)
    assert guest.convert(FREE - 4 * PAGE, 8 * PAGE, 'shared') == 0
    assert_mapped_for_devices(guest, 64, by_file)


@each_shape
def test_what_is_mapped_are_extents(protect_bare, edus, shape):
    """Also in a second container, as another iommufd has one"""
    guest = protect_bare(*options(edus[0]), '-object', 'iommufd,id=i1')
    assert_as_large_as_conversions_allow(guest, shape == IN_PLACE)


@with_two
def test_where_iommufd_does_not_cut_each_page_is_mapped(protect_bare, edu,
                                                        hide):
    hide('cut')
    guest = protect_bare(*options(edu))
    assert container(guest)['mappings'] > (60 << 20) / PAGE
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    convert_neighbours(guest)
    guest.do(f'dma copy {PAGES[2]} {PAGES[3]} {PAGE}')
    assert same(guest, PAGES[2], PAGES[3])
    assert container(guest)['revocations'] == 3


@each_shape
@pytest.mark.parametrize('how', ['type1', long('iommufd')])
def test_by_address_in_place_too(protect_bare, edu, how, hide):
    """As on a kernel whose iommufd takes no guest_memfd"""
    hide('file')
    guest = protect_bare(*options(edu, how))
    assert not container(guest)['by-file']
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    convert_neighbours(guest)
    assert guest.convert(PAGES[3], PAGE, 'private') == 0
    assert_cannot_reach(guest, PAGES[3], PAGES[4])


@each_shape
@pytest.mark.parametrize('error', ['ENOMEM', 'ENOSPC', 'EEXIST'])
@pytest.mark.parametrize('nth', [0, 1])
def test_a_mapping_that_fails(protect_bare, edus, error, nth, fail, hide):
    """With a container each, the first or the second: the page stays private
    for the guest, and all is as it was; then it can be had."""
    hide('file')
    guest = protect_bare(*options(edus[0]), '-object', 'iommufd,id=i1',
                         '-device', f'vfio-pci,host={edus[1]},addr=06.0,'
                         'iommufd=i1')
    assert guest.convert(PAGES[3], PAGE, 'private') == 0
    guest.do(f'fill {PAGES[3]} {PAGE} seed=7')
    fail(f'dma-{error} {nth} 1')
    assert guest.convert(PAGES[3], PAGE, 'shared') == EIO
    fail(None)
    guest.do(f'verify {PAGES[3]} {PAGE} seed=7')
    assert_cannot_reach(guest, PAGES[3], PAGES[4])
    assert guest.convert(PAGES[3], PAGE, 'shared') == 0
    guest.do(f'fill {PAGES[2]} {PAGE} seed=4')
    for nr in 0, 1:
        guest.do(f'dma copy {PAGES[2]} {PAGES[3]} {PAGE} device={nr}')
    assert same(guest, PAGES[2], PAGES[3])


@each_shape
@pytest.mark.parametrize('nth', [0, 1])
def test_a_device_that_does_not_let_go(protect_bare, edus, nth, fail, hide):
    """Then the page does not become private, and devices still reach it."""
    hide('file')
    guest = protect_bare(*options(edus[0]), '-object', 'iommufd,id=i1',
                         '-device', f'vfio-pci,host={edus[1]},addr=06.0,'
                         'iommufd=i1')
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    before = [found['mapped-bytes'] for found in
              guest.cmd('query-guest-memfd')['containers']]
    fail(f'undma {nth} 1')
    assert guest.convert(PAGES[3], PAGE, 'private') in (EIO, EBUSY)
    fail(None)
    assert guest.block()['private-bytes'] == 0
    assert before == [found['mapped-bytes'] for found in
                      guest.cmd('query-guest-memfd')['containers']]
    for nr in 0, 1:
        guest.do(f'dma copy {PAGES[2]} {PAGES[3]} {PAGE} device={nr}')
    assert same(guest, PAGES[2], PAGES[3])
    assert guest.convert(PAGES[3], PAGE, 'private') == 0
    assert_cannot_reach(guest, PAGES[3], PAGES[4])


@each_shape
def test_a_device_goes_while_pages_turn(protect_bare, edus, shape):
    guest = protect_bare(*UNPLUGS, '-device', 'pcie-root-port,id=p0,addr=04.0',
                         *IOMMUFD, *device(edus[0]), cpus=2)
    for _ in range(3):
        guest.cmd('device_add', driver='vfio-pci', id='other',
                  host=edus[1], iommufd='i0', bus='p0')
        guest.start(f'@1 storm {FREE} {512 * PAGE} 0 pages=8 seed=3')
        guest.cmd('device_del', id='other')
        guest.event_wait('DEVICE_DELETED', timeout=60)
        guest.finish('@1', stop=True)
    assert guest.convert(FREE, 512 * PAGE, 'shared', 'force=1') == 0
    guest.do(f'fill {PAGES[2]} {PAGE} seed=4')
    guest.do(f'dma copy {PAGES[2]} {PAGES[3]} {PAGE}')
    assert same(guest, PAGES[2], PAGES[3])


def test_foreign_addresses(boot_bare, edu):
    """Of nothing, and of the guest's own devices"""
    guest = boot_bare(*options(edu), machine='q35,guest-memfd=on', mem='64M')
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    for address in 1 << 40, 0xfec00000, 0xfee00000 - PAGE, 65 << 20:
        assert_faults(lambda address=address:
                      (guest.do(f'dma in {address} {PAGE}'),
                       guest.do(f'dma out {address} {PAGE}')))
    guest.do(f'verify {FREE} {8 * PAGE} seed=1')
    assert container(guest)['mappings'] < SECTIONS
