# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory that the host's kernel does not map, and so cannot pin."""
from pathlib import Path

import pytest
from bare import FREE
from devices import (NIC, TAP, assert_data_gets_through,
                     assert_packets_get_through)
from dimms import HOTPLUGGED, resize, virtio_mem
from direct_map import PAGE, addresses, pages_seen
from dumps import pages_of_the_pattern
from guest import MIB, Guest, refusal, wait_until
from images import new_image, run_job
from marks import long
from memslots import HOLES, assert_bound, bound_throughout, logged
from migration import (assert_stayed, hold_back, is_running, let_go, listen,
                       set_capabilities, set_parameters, wait_completed)
from passthrough import container, options
from postcopy import move, restart

pytestmark = pytest.mark.kernel('gmem', 'gmem-debug')

OFF = 'guest-memfd=on,guest-memfd-direct-map=off'
Q35 = f'q35,{OFF}'
SIZE = 8 * MIB
# A guest without kvm-clock would measure its processor's, and be wrong here
CLOCK = ' '.join(word for word in Path('/proc/cmdline').read_text().split()
                 if word.startswith('tsc'))


def kernel_sees(guest, path, size):
    """Where pages of the guest are, and how many the kernel sees there"""
    guest.cmd('pmemsave', val=FREE, size=size, filename=str(path))
    data = path.read_bytes()
    pages = [data[at:at + PAGE] for at in range(0, size, PAGE)]
    assert all(any(page) for page in pages)
    where = addresses(guest, FREE, size)
    return where, pages, pages_seen(where, pages)


def test_the_kernel_does_not_see_its_pages_before_they_are_freed(boot_bare,
                                                                 tmp_path):
    count = SIZE // PAGE
    plain = boot_bare(machine='q35,guest-memfd=on', mem='64M')
    plain.do(f'fill {FREE} {SIZE} seed=1')
    assert kernel_sees(plain, tmp_path / 'plain', SIZE)[2] == count
    plain.end()
    guest = boot_bare(machine=Q35, mem='64M')
    guest.do(f'fill {FREE} {SIZE} seed=2')
    where, pages, seen = kernel_sees(guest, tmp_path / 'off', SIZE)
    assert seen == 0
    assert 'no-direct-map' in guest.block()['flags']
    guest.do(f'verify {FREE} {SIZE} seed=2')
    guest.end()
    # somebody may have taken a few
    assert pages_seen(where, pages) > count / 2


def assert_only_bound(guest):
    """There is no mapped slot, and was none"""
    block = guest.block()
    assert_bound(block)
    assert block['counters']['maps'] == block['counters']['refused'] == 0
    assert {slot['as-id'] for slot in block['slots']} == {0}
    assert block['stays-mapped']


@pytest.mark.parametrize('machine', ['pc', long('q35'), long('microvm')])
def test_linux_boots_and_its_memory_holds(boot, machine):
    guest = boot(machine=f'{machine},{OFF}', mem='128M', fill=50, append=CLOCK)
    verified, whole = guest.wait_verified()
    assert verified > whole * .4
    assert_only_bound(guest)
    cpu = guest.cmd('query-cpus-fast')[0]['qom-path']
    for feature in 'kvmclock', 'svm', 'vmx':
        assert not guest.cmd('qom-get', path=cpu, property=feature)


@pytest.mark.parametrize('machine,cpu,words', [
    (f'{Q35},smm=on', None, 'System Management Mode'),
    (Q35, 'qemu64,+svm', 'svm=on: direct-map=off'),
    long(Q35, 'qemu64,-svm,+kvmclock', 'kvmclock=on: direct-map=off'),
    long(f'{Q35},guest-memfd-slots=mapped', None, 'slots=mapped: direct-map'),
    long(f'{Q35},guest-memfd-dirty-log=mapped', None, 'dirty-log=mapped: '),
    long(f'{Q35},guest-memfd-postcopy=mapped', None, 'postcopy=mapped: '),
    long('q35,guest-memfd-direct-map=off', None, "the machine's memory is no")])
def test_it_is_refused_at_start(machine, cpu, words):
    assert words in refusal(machine=machine, cpu=cpu)


def refused(guest, command, **arguments):
    """What QEMU says of a command that it does not take"""
    with pytest.raises(Exception) as failure:
        guest.cmd(command, **arguments)
    return str(failure.value)


def test_what_pins_pages_is_refused(boot, tmp_path):
    guest = boot('-S', machine=f'pc,{OFF}')
    asked = [
        ('blockdev-add', {'node-name': 'n0', 'driver': 'nvme',
                          'device': '0000:00:01.0', 'namespace': 1},
         'nvme://'),
        ('netdev_add', {'id': 'n0', 'type': 'vhost-vdpa',
                        'vhostdev': '/dev/null'}, 'vhost-vdpa'),
        ('device_add', {'driver': 'vhost-vdpa-device-pci',
                        'vhostdev': '/dev/null'}, 'vhost-vdpa-device'),
        ('migrate', {'uri': 'rdma:127.0.0.1:1'}, 'rdma'),
        ('migrate-set-capabilities', {'capabilities': [
            {'capability': 'background-snapshot', 'state': True}]},
         'background-snapshot'),
        ('qom-set', {'path': '/objects/pc.ram', 'property': 'slots',
                     'value': 'mapped'}, 'slots=mapped'),
        ('qom-set', {'path': '/objects/pc.ram', 'property': 'direct-map',
                     'value': True}, 'direct-map cannot change')]
    for command, arguments, words in asked:
        said = refused(guest, command, **arguments)
        assert words in said and 'direct-map' in said, said
    set_capabilities(['multifd'], True, guest)
    said = refused(guest, 'migrate-set-capabilities', capabilities=[
        {'capability': 'zero-copy-send', 'state': True}])
    assert 'zero-copy-send needs pages of the guest pinned' in said
    set_capabilities(['mapped-ram'], True, guest)
    set_parameters({'direct-io': True}, guest)
    said = refused(guest, 'migrate', uri=f'file:{tmp_path}/state')
    assert 'direct-io needs pages of the guest pinned' in said


def test_it_is_not_plugged_where_the_guest_has_kvm_clock(boot):
    guest = boot('-S', machine='q35,smm=off', mem='128M,slots=2,maxmem=2G')
    said = refused(guest, 'object-add', **{
        'qom-type': 'memory-backend-guest-memfd', 'id': 'm1',
        'size': 64 * MIB, 'direct-map': False})
    assert "memory backend 'm1': direct-map=off: processors" in said


def direct(block_device, aio):
    return ['-drive', f'if=virtio,format=raw,file={block_device},'
            f'cache.direct=on,aio={aio}']


@pytest.mark.long
@pytest.mark.parametrize('aio', ['native', 'threads'])
def test_direct_io_of_the_host_is_copied(serving, disk, block_device, aio):
    guest = serving(*direct(block_device, aio), machine=Q35, append=CLOCK)
    assert_data_gets_through(guest, '/dev/vda', disk)


def test_devices_reach_it_that_need_no_pins(serving, disk, block_device,
                                            storage_daemon, edu):
    """Direct I/O, which is copied; other processes; vhost; and a device of the
    host, by file"""
    vhost_user, _ = storage_daemon
    guest = serving(*direct(block_device, 'io_uring'), *vhost_user, '-netdev',
                    f'{TAP}on', '-device', NIC, '-object', 'iommufd,id=i0',
                    '-device', f'vfio-pci,host={edu},addr=1f.7,iommufd=i0',
                    machine=Q35, append=CLOCK)
    for device in '/dev/vda', '/dev/vdb':
        assert_data_gets_through(guest, device, disk)
    assert_packets_get_through(guest, 2)
    guest.do('dma 0000:00:1f.7 0')
    found, = guest.cmd('query-guest-memfd')['containers']
    assert found['by-file'] and found['pinned-bytes'] == 0
    guest.do('verify')
    assert_only_bound(guest)


def test_a_device_that_pins_it_is_refused(edu):
    said = refusal('-device', f'vfio-pci,host={edu}', machine=Q35)
    assert "memory backend 'pc.ram': direct-map=off" in said


def test_it_is_not_made_where_a_device_has_memory_by_address(boot_bare, edu):
    guest = boot_bare('-cpu', 'qemu64,-svm,-kvmclock', '-device',
                      f'vfio-pci,host={edu}', machine='q35,smm=off',
                      mem='64M,slots=1,maxmem=1G')
    said = refused(guest, 'object-add', **{
        'qom-type': 'memory-backend-guest-memfd', 'id': 'm1',
        'size': 64 * MIB, 'direct-map': False})
    assert f'mapped for {edu} by address' in said
    guest.do(f'fill {FREE} {PAGE} seed=1')


def test_a_device_that_could_not_have_what_is_plugged_later_is_refused(
        boot_bare, edu):
    """Refusing the memory when it is plugged would be too late."""
    guest = boot_bare('-cpu', 'qemu64,-svm,-kvmclock', '-device',
                      'pcie-root-port,id=p0,addr=04.0', '-object',
                      'memory-backend-guest-memfd,id=m1,size=64M,'
                      'direct-map=off', machine='q35,smm=off',
                      mem='64M,slots=1,maxmem=1G')
    said = refused(guest, 'device_add', driver='vfio-pci', host=edu, bus='p0')
    assert "memory backend 'm1': direct-map=off" in said
    guest.cmd('device_add', driver='pc-dimm', id='d1', memdev='m1')
    assert_bound(guest.block())


def test_it_is_saved_and_loaded_and_dumped(boot_bare, tmp_path):
    guest = boot_bare(*new_image(tmp_path), machine=Q35, mem='64M')
    guest.do(f'fill {FREE} {MIB} seed=1')
    disk = {'vmstate': 'disk', 'devices': ['disk'], 'tag': 'saved'}
    with bound_throughout(guest):
        run_job(guest, 'snapshot-save', **disk)
    guest.do(f'fill {FREE} {MIB} seed=2')
    run_job(guest, 'snapshot-load', **disk)
    guest.cmd('cont')
    guest.do(f'verify {FREE} {MIB} seed=1')
    guest.cmd('dump-guest-memory', paging=False,
              protocol=f'file:{tmp_path}/dump')
    assert pages_of_the_pattern(tmp_path / 'dump') >= MIB // PAGE
    assert_only_bound(guest)


def test_it_moves(boot_bare):
    """While it writes, too"""
    source = boot_bare(machine=Q35, mem='16M', cpus=2)
    source.do(f'fill {FREE} {4 * MIB} seed=1')
    source.start(f'@1 churn {FREE + 2 * MIB} {2 * MIB} seed=1 passes=0')
    destination = boot_bare(machine=Q35, mem='16M', cpus=2, incoming=True)
    hold_back(source)
    source.cmd('migrate', uri=listen(destination))
    wait_until(lambda: logged(source.block()) == {True})
    assert_bound(source.block())
    let_go(source)
    assert wait_completed(source)['ram']['dirty-sync-count'] > 1
    wait_until(lambda: is_running(destination))
    destination.finish('@1', stop=True)
    destination.do(f'verify {FREE} {2 * MIB} seed=1')
    for guest in source, destination:
        assert_only_bound(guest)


@pytest.mark.long
def test_it_comes_in_by_postcopy(traveller):
    source = traveller.start('-cpu', 'qemu64,-svm,-kvmclock', append=CLOCK)
    source.wait_verified()
    destination = traveller.start(memory='no-direct-map', incoming=True)
    destination.memory = 'by-userfault'
    move(source, destination, restart)
    assert_only_bound(destination)


@pytest.mark.long
def test_a_guest_that_uses_kvm_clock_does_not_come(traveller):
    source = traveller.start()
    source.wait_verified()
    destination = traveller.start(memory='no-direct-map', incoming=True)
    set_capabilities(['return-path'], True, source, destination)
    source.cmd('migrate', uri=listen(destination))
    status, said = destination.wait_ended()
    assert status == 1 and 'the guest that comes uses kvm-clock' in said
    assert_stayed(source)


def test_nothing_comes_in_by_postcopy_to_what_a_device_has_by_file(boot, edu):
    """The device would find pages that have not come, and not wait."""
    guest = boot(*options(edu), machine='q35,guest-memfd=on', incoming=True)
    said = refused(guest, 'migrate-set-capabilities', capabilities=[
        {'capability': 'postcopy-ram', 'state': True}])
    assert f'postcopy: {edu} reaches guest memory by file' in said


@pytest.mark.long
def test_the_parts_of_virtio_mem_are_mapped_by_file(growing, edu):
    guest = growing(*virtio_mem('block-size=4M'), *options(edu), machine=Q35,
                    append=CLOCK)
    before = container(guest)['mapped-bytes']
    for mib in 128, 0, 64:
        resize(guest, mib)
        found = container(guest)
        assert found['by-file'] and found['pinned-bytes'] == 0
        assert abs(found['mapped-bytes'] - before - mib * MIB) < HOLES
        if mib:
            guest.do(f'dma 0000:00:05.0 {HOTPLUGGED:#x}')
    guest.do('verify')
    for block in guest.blocks():
        assert 'no-direct-map' in block['flags']


def test_a_kernel_that_logs_nothing_in_bound_slots(boot_bare, hide, tmp_path):
    """Then it does not migrate, and says so; a snapshot needs no log."""
    hide('log')
    guest = boot_bare(*new_image(tmp_path), machine=Q35, mem='64M')
    guest.do(f'fill {FREE} {MIB} seed=1')
    for command, arguments in [
            ('migrate', {'uri': f'file:{tmp_path}/state'}),
            ('calc-dirty-rate', {'calc-time': 1, 'mode': 'dirty-bitmap'})]:
        said = refused(guest, command, **arguments)
        assert 'needs a log of what the guest writes' in said
    run_job(guest, 'snapshot-save', vmstate='disk', devices=['disk'], tag='s')
    guest.do(f'verify {FREE} {MIB} seed=1')
    assert_only_bound(guest)
