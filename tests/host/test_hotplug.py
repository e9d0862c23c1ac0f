# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory comes and goes while the guest runs, each piece a guest_memfd."""
import os

import pytest
from devices import assert_data_gets_through, mappings_of_guest_memory
from dimms import (DIMM, add_backend, add_dimm, block_of, guest_has_mib,
                   remove_dimm, resize, unplug_dimm, virtio_mem)
from guest import MIB, host_uses_mib, wait_until
from memslots import LOGS_BOUND, assert_bound, logged, why_mapped
from pages import bytes_in_page_table

from qemu.qmp.legacy import QMPError

def filled_mib(guest):
    """What the guest can fill and verify"""
    return int(guest.do('fill 90').split()[0])


def descriptors(guest):
    """What QEMU has open; the first query opens what stays so."""
    guest.blocks()
    folder = f'/proc/{guest.get_pid()}/fd'
    return sorted(os.readlink(f'{folder}/{fd}') for fd in os.listdir(folder))


def test_dimms_come_and_go_under_the_same_names(growing):
    guest = growing()
    small, before = guest_has_mib(guest), descriptors(guest)
    for _ in range(2):
        add_backend(guest, 'm1')
        add_backend(guest, 'm2', 'memory-backend-ram')
        add_dimm(guest, 'm1')
        add_dimm(guest, 'm2')
        wait_until(lambda: guest_has_mib(guest) >= small + 2 * DIMM)
        assert filled_mib(guest) > small + DIMM
        for name in 'm1', 'm2':
            assert block_of(guest, name)['bound-bytes'] == DIMM * MIB
        assert len(descriptors(guest)) == len(before) + 2
        used = host_uses_mib()
        guest.do('release')
        remove_dimm(guest, 'm1')
        remove_dimm(guest, 'm2')
        wait_until(lambda: descriptors(guest) == before)
        assert used - host_uses_mib() > DIMM
        assert_bound(guest.block())
        assert guest_has_mib(guest) == small
    guest.do('fill 90')


@pytest.mark.long
def test_a_dimm_joins_its_numa_node(growing):
    guest = growing(
        '-object', 'memory-backend-guest-memfd,id=m0,size=256M',
        '-object', 'memory-backend-guest-memfd,id=m1,size=256M',
        '-numa', 'node,memdev=m0', '-numa', 'node,memdev=m1',
        mem='512M,slots=4,maxmem=8G')
    node = '/sys/devices/system/node/node1/meminfo'
    before, small = guest_has_mib(guest), guest_has_mib(guest, node)
    add_backend(guest, 'm2', **{'host-nodes': [1], 'policy': 'bind'})
    add_dimm(guest, 'm2', node=1)
    wait_until(lambda: guest_has_mib(guest, node) == small + DIMM)
    assert filled_mib(guest) > before
    for block in guest.blocks():
        assert_bound(block)


@pytest.mark.parametrize('options,sizes', [
    ('prealloc=on', [(256, [2048]), (128, [2048]), (0, [2048])]),
    ('dynamic-memslots=on', [(1152, [1024, 1024]), (128, [1024]), (0, [])])])
def test_virtio_mem_grows_and_shrinks(growing, options, sizes):
    """The slots are there for the memory plugged, and all of them bound.  What
    is allocated ahead is so in the file, not in QEMU's page table."""
    guest = growing(*virtio_mem(options))
    pid, backend = guest.get_pid(), 2048 * MIB
    small, empty = guest_has_mib(guest), host_uses_mib()
    for mib, slots in sizes:
        resize(guest, mib)
        wait_until(lambda: guest_has_mib(guest) == small + mib)
        block = block_of(guest, 'vm')
        assert [slot['size'] // MIB for slot in block['slots']
                if slot['as-id'] == 0] == slots
        assert block['bound-bytes'] == sum(slots) * MIB
        if options == 'prealloc=on' and (mib, slots) == sizes[0]:
            assert host_uses_mib() - empty > mib - 16
        assert bytes_in_page_table(pid, backend) < 16 * MIB
        assert host_uses_mib() - empty < mib + 64
        guest.do('fill 30')
        guest.do('release')


@pytest.mark.long
def test_new_memory_is_logged_and_bound_again(growing):
    guest = growing(*virtio_mem('dynamic-memslots=on'))
    resize(guest, 1152)
    add_backend(guest, 'm1')
    add_dimm(guest, 'm1')
    wait_until(lambda: guest_has_mib(guest) > 1152 + DIMM)
    guest.do('fill 25')
    guest.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    guest.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: logged(*guest.blocks()) == {True})
    assert why_mapped(*guest.blocks()) == {None if LOGS_BOUND else 'dirty-log'}
    guest.do('verify')
    guest.cmd('migrate_cancel')
    wait_until(lambda: logged(*guest.blocks()) == {False})
    assert why_mapped(*guest.blocks()) == {None}
    guest.do('verify')


@pytest.mark.long
def test_a_reset_takes_back_what_was_plugged(growing):
    guest = growing(*virtio_mem('dynamic-memslots=on'))
    small, empty = guest_has_mib(guest), host_uses_mib()
    resize(guest, 512)
    wait_until(lambda: guest_has_mib(guest) == small + 512)
    guest.do('fill 90')
    guest.cmd('qom-set', path='/machine/peripheral/more',
              property='requested-size', value=0)
    guest.cmd('system_reset')
    guest.wait_verified()
    assert host_uses_mib() < empty + 64
    assert block_of(guest, 'vm')['slots'] == []
    assert_bound(block_of(guest, 'pc.ram'))


@pytest.mark.long
def test_a_vhost_user_back_end_gets_new_memory(growing, disk, storage_daemon):
    options, pid = storage_daemon
    guest = growing(*options)
    before = mappings_of_guest_memory(pid)
    small = guest_has_mib(guest)
    add_backend(guest, 'm1')
    add_dimm(guest, 'm1')
    wait_until(lambda: guest_has_mib(guest) >= small + DIMM)
    assert mappings_of_guest_memory(pid) == before + 1
    guest.do('fill 60')
    assert_data_gets_through(guest, '/dev/vda', disk)
    guest.do('release')
    guest.do('put 3 /proc/sys/vm/drop_caches')
    remove_dimm(guest, 'm1')
    assert mappings_of_guest_memory(pid) == before
    guest.do('fill 25')
    assert_data_gets_through(guest, '/dev/vda', disk)


def available_mib():
    with open('/proc/meminfo') as meminfo:
        available = next(line.split()[1] for line in meminfo
                         if line.startswith('MemAvailable:'))
    return int(available) // 1024


def too_much():
    """The host has so much memory, but not to spare"""
    return (available_mib() + 64) * MIB


@pytest.fixture
def monitor(boot):
    """A guest that is only asked by its monitor"""
    return boot(machine='q35,guest-memfd=on', mem='256M,slots=4,maxmem=8G')


def test_a_backend_that_is_refused_leaves_nothing_behind(monitor):
    before = descriptors(monitor)
    for message, props in {
            'is more than the host': {'size': 1 << 50},
            'is not a multiple of the page size': {'size': 4097},
            'share=off': {'share': False},
            'merge=on': {'merge': True},
            'prealloc=on needs': {'size': too_much(), 'prealloc': True},
            'cannot bind memory': {'host-nodes': [63], 'policy': 'bind'},
            'file cannot be a guest_memfd': {
                'qom_type': 'memory-backend-file', 'mem-path': '/tmp'}
            }.items():
        with pytest.raises(QMPError, match=message):
            add_backend(monitor, 'm1', **props)
        wait_until(lambda: descriptors(monitor) == before)
        assert_bound(monitor.block())
    add_backend(monitor, 'm1')
    assert block_of(monitor, 'm1')['slots'] == []
    monitor.cmd('object-del', {'id': 'm1'})
    wait_until(lambda: descriptors(monitor) == before)


@pytest.mark.long
@pytest.mark.parametrize('when', ['at once', 'later'])
def test_what_is_locked_in_memory_needs_no_second_place(boot, when):
    """More than half of what there is: the pages are allocated already"""
    guest = boot('-overcommit', 'mem-lock=on', machine='q35,guest-memfd=on',
                 mem='256M,slots=1,maxmem=16G')
    half = available_mib() * 6 // 10
    before = host_uses_mib()
    add_backend(guest, 'm1', size=half * MIB, prealloc=when == 'at once')
    assert host_uses_mib() - before > half - 16
    assert available_mib() < half
    guest.cmd('qom-set', path='/objects/m1', property='prealloc', value=True)
    add_dimm(guest, 'm1')
    assert block_of(guest, 'm1')['allocated-bytes'] == half * MIB


def test_a_backend_in_use_cannot_be_deleted(monitor):
    add_backend(monitor, 'm1')
    add_dimm(monitor, 'm1')
    for name in 'pc.ram', 'm1':
        with pytest.raises(QMPError, match='in use'):
            monitor.cmd('object-del', {'id': name})
    assert block_of(monitor, 'm1')['bound-bytes'] == DIMM * MIB
    assert_bound(block_of(monitor, 'pc.ram'))


def start_cpr_transfer(guest):
    guest.cmd('migrate-set-parameters', mode='cpr-transfer')
    guest.cmd('migrate', channels=[
        {'channel-type': kind, 'addr': {
            'transport': 'socket', 'type': 'unix',
            'path': f'{guest.temp_dir}/{kind}'}} for kind in ('main', 'cpr')])


def test_cpr_transfer_stays_refused_when_a_dimm_is_plugged_again(growing):
    guest = growing('-object', 'memory-backend-memfd,id=ram0,size=256M',
                    machine='q35,memory-backend=ram0,aux-ram-share=on')
    small = guest_has_mib(guest)
    add_backend(guest, 'm1')
    add_dimm(guest, 'm1')
    wait_until(lambda: guest_has_mib(guest) > small)
    unplug_dimm(guest, 'm1')
    add_dimm(guest, 'm1')
    with pytest.raises(QMPError, match="'m1': a guest_memfd belongs to one"):
        start_cpr_transfer(guest)
