# SPDX-License-Identifier: GPL-2.0-or-later
"""What a property of a memory backend promises is so, and not only said."""
import os
import resource
import signal

import pytest
from dumps import PAGE, pages_of_the_pattern
from guest import BOARD, GMEM, MIB, Guest, host_uses_mib, wait_until
from marks import NO_DIMM, x86
from pages import bytes_in_page_table, bytes_touched, mapping

SIZE = 64 * MIB
FEW = 6         # MiB of page cache that come and go with other things


@pytest.fixture(scope='module')
def stopped():
    """A guest that has not been started"""
    guest = Guest('-S', machine=GMEM, mem='256M')
    yield guest
    guest.end()
    print(guest.report())


@pytest.fixture
def backend(stopped):
    """add(**properties): a backend m0; gone with the test, and its pages"""
    before = host_uses_mib()

    def add(**properties):
        stopped.cmd('object-add', {'qom-type': 'memory-backend-guest-memfd',
                                   'id': 'm0', 'size': SIZE, **properties})
        return stopped.get_pid()
    yield add
    stopped.cmd('object-del', {'id': 'm0'})
    wait_until(lambda: host_uses_mib() - before < FEW)


@pytest.mark.parametrize('slots', ['auto', 'bound', 'mapped'])
def test_prealloc_puts_every_page_into_the_file(backend, slots):
    """... and, but for mapped slots, none into QEMU's page table"""
    before = host_uses_mib()
    pid = backend(slots=slots, prealloc=True)
    assert abs(host_uses_mib() - before - SIZE // MIB) < FEW
    through_the_mapping = SIZE if slots == 'mapped' else 0
    assert bytes_in_page_table(pid, SIZE) == through_the_mapping


def test_nothing_is_allocated_before_it_is_needed(stopped, backend):
    before = host_uses_mib()
    backend()
    assert host_uses_mib() - before < FEW
    stopped.cmd('qom-set', path='/objects/m0', property='prealloc',
                value=True)
    assert abs(host_uses_mib() - before - SIZE // MIB) < FEW


@x86(NO_DIMM)
def test_more_than_the_host_has_if_it_is_not_reserved(boot):
    with open('/proc/meminfo') as meminfo:
        host = int(meminfo.readline().split()[1]) << 10
    size = 32 << 30
    assert size > host
    guest = boot('-S', '-object', 'memory-backend-guest-memfd,id=m1,size=32G,'
                 'reserve=off', '-device', 'pc-dimm,memdev=m1',
                 machine=GMEM, mem='256M,slots=1,maxmem=64G')
    block = next(block for block in guest.blocks() if block['memdev'] == 'm1')
    assert block['size'] == block['bound-bytes'] == size
    assert bytes_touched(guest.get_pid(), size) == 0


@pytest.fixture
def core(tmp_path):
    """core(guest): the file that its QEMU leaves when it is aborted, with
    shared files in it as the guide says"""
    pattern = '/proc/sys/kernel/core_pattern'
    with open(pattern) as file:
        before = file.read()
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    with open(pattern, 'w') as file:
        file.write(f'{tmp_path}/core')
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

    def abort(guest):
        with open(f'/proc/{guest.get_pid()}/coredump_filter', 'w') as file:
            file.write('0x3b')
        os.kill(guest.get_pid(), signal.SIGABRT)
        wait_until(lambda: not guest.is_running())
        return tmp_path / 'core'
    yield abort
    resource.setrlimit(resource.RLIMIT_CORE, limits)
    with open(pattern, 'w') as file:
        file.write(before)


def test_a_core_of_qemu_has_the_memory_unless_dump_is_off(boot, core):
    """Of two backends that a guest has filled"""
    sizes = {'on': 96 * MIB, 'off': 64 * MIB}
    args = [word for n, (dump, size) in enumerate(sizes.items()) for word in (
        '-object', f'memory-backend-guest-memfd,id=m{n},size={size},'
        f'dump={dump}', '-numa', f'node,memdev=m{n}')]
    guest = boot(*args, machine=BOARD, mem='160M')
    guest.wait_verified()
    where = {dump: range(*mapping(guest.get_pid(), size)['range'])
             for dump, size in sizes.items()}
    assert bytes_touched(guest.get_pid(), sizes['off']) > sizes['off'] // 2
    path = core(guest)
    assert pages_of_the_pattern(path, where['on']) > 32 * MIB // PAGE
    assert pages_of_the_pattern(path, where['off']) == 0
