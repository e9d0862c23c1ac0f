# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of the host that is passed through reaches guest memory by DMA."""
import os
import re

import pytest
from bare import FREE
from conversions import PAGE, only_two
from devices import checksum
from dimms import (DIMM, HOTPLUGGED, add_backend, add_dimm, guest_has_mib,
                   resize, virtio_mem)
from guest import DISK, MIB, GuestError, wait_until
from memslots import HOLES, assert_bound
from passthrough import (IOMMUFD, MAPS_FILE, NVME, PCI,
                         assert_mapped_for_devices, container, device, find,
                         give_to, options)

from qemu.qmp.legacy import QMPError

BARE = {'machine': 'q35,guest-memfd=on', 'mem': '64M'}
each_iommu = pytest.mark.parametrize('how', ['type1', 'iommufd'])


def assert_reaches(guest, nth=0):
    """A page is copied by DMA."""
    source, target = FREE + 2 * nth * PAGE, FREE + (2 * nth + 1) * PAGE
    guest.do(f'fill {source} {PAGE} seed={nth + 1}')
    guest.do(f'dma copy {source} {target} {PAGE} device={nth}')
    assert guest.do(f'sum {source} {PAGE}')['crc'] == \
        guest.do(f'sum {target} {PAGE}')['crc']


def refusal(boot, *args, **kwargs):
    """What QEMU says as it does not start"""
    with pytest.raises(Exception) as info:
        boot(*args, **kwargs)
    assert not isinstance(info.value, GuestError)
    assert info.value.exitcode == 1
    return info.value.output


@each_iommu
def test_a_device_reaches_all_memory_also_what_is_plugged_later(growing, edu,
                                                                how):
    by_file = MAPS_FILE and how == 'iommufd'
    guest = growing(*options(edu, how))
    assert_mapped_for_devices(guest, 256, by_file)
    guest.do('dma 0000:00:05.0 0')
    small = guest_has_mib(guest)
    add_backend(guest, 'm1')
    add_dimm(guest, 'm1')
    wait_until(lambda: guest_has_mib(guest) >= small + DIMM)
    assert_mapped_for_devices(guest, 256 + DIMM, by_file)
    guest.do(f'dma 0000:00:05.0 {HOTPLUGGED:#x}')
    for block in guest.blocks():
        assert_bound(block)
    guest.do('verify')
    interface, = [known for known in guest.cmd('query-guest-memfd')['host']
                  if known['name'] == 'iommufd-map-file']
    if how == 'iommufd':
        assert interface['available'] == by_file
        assert 'with a device' in interface['found-by']
    assert re.search(rf'Devices: {edu}: by {"file" if by_file else "address"}, '
                     r'\d+ mappings', guest.hmp('info guest-memfd'))


@each_iommu
@pytest.mark.parametrize('slots', ['bound', 'mapped'])
def test_slots_of_either_kind(boot_bare, edu, how, slots):
    guest = boot_bare(*options(edu, how), mem='64M',
                      machine=f'q35,guest-memfd=on,guest-memfd-slots={slots}')
    assert_mapped_for_devices(guest, 64, MAPS_FILE and how == 'iommufd')
    assert_reaches(guest)


def test_a_manager_passes_what_it_opened(boot_bare, edu):
    name, = os.listdir(f'{PCI}/devices/{edu}/vfio-dev')
    files = [os.open(path, os.O_RDWR)
             for path in ('/dev/iommu', f'/dev/vfio/devices/{name}')]
    for file in files:
        os.set_inheritable(file, True)
    try:
        guest = boot_bare(
            '-object', f'iommufd,id=i0,fd={files[0]}',
            '-device', f'vfio-pci,fd={files[1]},iommufd=i0,addr=05.0', **BARE)
    finally:
        for file in files:
            os.close(file)
    assert_mapped_for_devices(guest, 64, MAPS_FILE)
    assert_reaches(guest)


def test_devices_share_a_container_and_go_and_come(boot_bare, edus):
    first, second = edus
    guest = boot_bare('-device', 'pcie-root-port,id=p0,addr=04.0', *IOMMUFD,
                      *device(first), *device(second, slot=6), **BARE)
    assert set(container(guest)['devices']) == {first, second}
    assert_mapped_for_devices(guest, 64, MAPS_FILE)
    for nth in 0, 1:
        assert_reaches(guest, nth)


def test_a_device_that_is_plugged_late_is_the_first(boot_bare, edu):
    guest = boot_bare(*IOMMUFD, '-device', 'pcie-root-port,id=p0,addr=04.0',
                      **BARE)
    assert guest.cmd('query-guest-memfd')['containers'] == []
    guest.cmd('device_add', driver='vfio-pci', id='late', host=edu,
              iommufd='i0', bus='p0')
    assert_mapped_for_devices(guest, 64, MAPS_FILE)
    guest.cmd('system_reset')
    guest.wait_ready()
    assert_mapped_for_devices(guest, 64, MAPS_FILE)


@pytest.mark.long
def test_memory_of_virtio_mem(growing, edu):
    """Which goes and comes while there is a device"""
    guest = growing(*virtio_mem('block-size=4M'), *options(edu))
    before = container(guest)['mapped-bytes']
    for mib in 128, 0, 64:
        resize(guest, mib)
        assert abs(container(guest)['mapped-bytes'] - before -
                   mib * MIB) < HOLES
        if mib:
            guest.do(f'dma 0000:00:05.0 {HOTPLUGGED:#x}')
    guest.do('verify')


def test_migration_is_refused_as_with_a_memfd(boot_bare, edu):
    def refused(machine):
        guest = boot_bare(*options(edu), mem='64M', machine=machine)
        with pytest.raises(QMPError) as info:
            guest.cmd('migrate', uri='exec:cat >/dev/null')
        guest.end()
        return str(info.value)
    assert refused('q35,guest-memfd=on') == refused('q35')


@pytest.fixture(scope='module')
def nvme():
    """An NVMe disk that vfio-pci has, and a file with what is on it"""
    address, = find(NVME)
    path = '/dev/shm/gmem-nvme'
    with open('/dev/nvme0n1', 'wb') as disk, open(path, 'wb') as copy:
        data = os.urandom(DISK * MIB)
        disk.write(data)
        copy.write(data)
    give_to(address, 'vfio-pci')
    yield address
    give_to(address, '')
    os.unlink(path)


@pytest.mark.parametrize('translated', [
    False, pytest.param(True, marks=pytest.mark.long)])
def test_a_disk_that_the_guest_has_a_driver_for(serving, nvme, translated,
                                                tmp_path):
    """translated: behind an IOMMU of the guest's"""
    iommu = ['-device', 'intel-iommu,caching-mode=on'] if translated else []
    guest = serving(*iommu, *options(nvme), machine='q35,guest-memfd=on,'
                    'kernel-irqchip=split', append='intel_iommu=on,sm_off')
    data = open('/dev/shm/gmem-nvme', 'rb').read()
    device_file = '/dev/nvme0n1'
    assert guest.do(f'sum {device_file} direct') == checksum(data)
    written = guest.do(f'write {device_file} {DISK // 2} direct')
    whole = guest.do(f'sum {device_file}')
    assert container(guest)['by-file'] == MAPS_FILE
    assert container(guest).get('revocations') == (None if translated else 0)
    guest.do('verify')
    guest.end()
    give_to(nvme, '')
    data = open(device_file, 'rb').read()
    give_to(nvme, 'vfio-pci')
    assert checksum(data[:DISK // 2 * MIB]) == written
    assert checksum(data) == whole
    with open('/dev/shm/gmem-nvme', 'wb') as copy:
        copy.write(data)


BEHIND_IOMMU = ['-device', 'intel-iommu,caching-mode=on']
cannot_follow = pytest.mark.parametrize('how,more,said', [
    ('type1', [], ['as any page can turn private', "'iommufd=i0'"]),
    ('iommufd', BEHIND_IOMMU, ["'pc.ram'", 'behind an IOMMU of the guest',
                               'iommufd-map-file']),
])
LARGE = {'mem': '256M', 'machine': 'q35,kernel-irqchip=split'}


@only_two
@cannot_follow
def test_what_cannot_follow_conversions_is_refused(protect_bare, edu, how, more,
                                                   said):
    output = refusal(protect_bare, *more, *options(edu, how), **LARGE)
    for words in said:
        assert words in output


@only_two
@cannot_follow
def test_it_is_refused_to_a_machine_that_runs(protect_bare, edu, how, more,
                                              said):
    guest = protect_bare(*more, *IOMMUFD, '-device',
                         'pcie-root-port,id=p0,addr=04.0', **LARGE)
    with pytest.raises(QMPError) as info:
        guest.cmd('device_add', driver='vfio-pci', id='late', host=edu,
                  bus='p0', **({} if how == 'type1' else {'iommufd': 'i0'}))
    assert said[0] in str(info.value)
    guest.do(f'fill {FREE} {PAGE} seed=1')
    assert guest.convert(FREE, PAGE, 'private') == 0


@pytest.mark.long
@only_two
def test_memory_that_type1_has_no_room_for_can_never_come(protect_bare, edu):
    output = refusal(protect_bare, *options(edu, 'type1'), machine='q35',
                     mem='64M,slots=1,maxmem=1G')
    assert 'all that the machine can have' in output
