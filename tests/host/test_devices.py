# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices whose back ends reach guest memory themselves: other processes by
the guest_memfd, the kernel by pages of QEMU's mapping of it."""
import os
import re

import pytest
from devices import (NIC, TAP, assert_data_gets_through,
                     assert_packets_get_through, checksum,
                     mappings_of_guest_memory)
from guest import ARCH, DISK, GMEM, MIB
from marks import long
from memslots import assert_bound, bound_throughout

from qemu.machine.machine import VMLaunchFailure

VIRTIOFSD = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd']
# RAM in two places, where a machine can have that: the back end gets the file
# twice, once with an offset.
SPLIT, REGIONS = (GMEM, 1) if ARCH == 'aarch64' else \
    ('q35,max-ram-below-4g=128M,guest-memfd=on', 2)


def pages_pinned():
    """How many pages the kernel has been asked to pin since it started"""
    with open('/proc/vmstat') as vmstat:
        return int(re.search(r'nr_foll_pin_acquired (\d+)',
                             vmstat.read())[1])


@pytest.mark.parametrize('aio', [
    'io_uring', long('native'), long('threads')])
def test_direct_io_of_the_host_goes_to_guest_memory(serving, disk,
                                                    block_device, aio):
    try:
        guest = serving('-drive', f'if=virtio,format=raw,file={block_device},'
                        f'cache.direct=on,aio={aio}')
    except VMLaunchFailure as error:
        if 'not supported in this build' in (error.output or ''):
            pytest.skip(f'this QEMU has no aio={aio}')
        raise
    before = pages_pinned()
    assert_data_gets_through(guest, '/dev/vda', disk)
    assert pages_pinned() - before >= DISK * MIB // 4096


def test_vhost_user_blk_serves_guest_memory_by_the_file(serving, disk,
                                                        storage_daemon):
    options, pid = storage_daemon
    guest = serving(*options, machine=SPLIT)
    assert_data_gets_through(guest, '/dev/vda', disk)
    assert mappings_of_guest_memory(pid) >= REGIONS


def test_vhost_net_moves_packets(serving):
    if not os.access('/dev/vhost-net', os.R_OK | os.W_OK):
        pytest.skip('this host has no /dev/vhost-net')
    guest = serving('-netdev', f'{TAP}on', '-device', NIC, machine=SPLIT)
    with bound_throughout(guest):
        assert_packets_get_through(guest, 8)
    pid = guest.get_pid()
    threads = [open(f'/proc/{pid}/task/{task}/comm').read()
               for task in os.listdir(f'/proc/{pid}/task')]
    assert f'vhost-{pid}\n' in threads


def assert_files_get_through(guest, disk):
    """Of a folder of the host that the guest has mounted on /mnt"""
    with bound_throughout(guest):
        assert guest.do('sum /mnt/disk') == checksum(disk.read_bytes())
        written = guest.do(f'write /mnt/new {DISK // 2}')
        assert checksum((disk.parent / 'new').read_bytes()) == written
        guest.do('verify')


def test_a_folder_shared_by_9p(serving, disk):
    guest = serving('-virtfs', f'local,path={disk.parent},mount_tag=host,'
                    'security_model=none')
    guest.do('mount 9p host /mnt trans=virtio,version=9p2000.L,msize=512000,'
             'cache=loose')
    assert_files_get_through(guest, disk)


def test_a_folder_shared_by_virtiofs(serving, disk, back_end):
    server = next((path for path in VIRTIOFSD if os.access(path, os.X_OK)),
                  None)
    if not server:
        pytest.skip(f'no virtiofsd: {" or ".join(VIRTIOFSD)}')
    chardev, pid = back_end(server, '--socket-path=SOCKET', '-o',
                            f'source={disk.parent}', '-o', 'sandbox=chroot')
    guest = serving(*chardev, '-device',
                    'vhost-user-fs-pci,chardev=back,tag=host',
                    machine=SPLIT)
    guest.do('mount virtiofs host /mnt')
    assert_files_get_through(guest, disk)
    assert mappings_of_guest_memory(pid) >= REGIONS


def locked_mib(guest):
    with open(f'/proc/{guest.get_pid()}/status') as status:
        return int(re.search(r'VmLck:\s*(\d+) kB', status.read())[1]) >> 10


def test_locked_memory(boot):
    """It is bound, it holds, and what the kernel offers looks the same."""
    locked = boot('-overcommit', 'mem-lock=on', machine=GMEM)
    locked.wait_verified()
    assert locked_mib(locked) > 256
    assert_bound(locked.block())
    offered = locked.cmd('query-guest-memfd')['host']
    assert offered == boot(machine=GMEM).cmd(
        'query-guest-memfd')['host']
