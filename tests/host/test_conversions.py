# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests turn memory private and back: software-protected VMs, with two
backings and in place."""
import errno
import glob
import os
import re
import shutil
import subprocess

import pytest
from bare import FREE, Refused
from conversions import (APART, EBUSY, EINVAL, IN_PLACE, PAGE, also_by_file,
                         assert_shape, each_shape, in_place, in_place_kernel,
                         only_gmem, only_two, with_two)
from devices import (NIC, TAP, assert_blocks_get_through,
                     assert_packets_get_through)
from dimms import DIMM, add_backend, add_dimm
from guest import MIB, QEMU, wait_until
from marks import long

from qemu.qmp.legacy import QMPError

OVMF = '/usr/share/OVMF/OVMF_%s_4M.fd'
PROTECTED = ['-object', 'sw-protected-guest,id=s0']


def host_has_mib():
    """Memory that the host has given to files and processes"""
    text = ''.join(open(path).read() for path in
                   glob.glob('/sys/devices/system/node/node*/meminfo'))
    return sum(map(int, re.findall(r'(?:FilePages|AnonPages): *(\d+) kB',
                                   text))) / 1024


def assert_one_copy(block, shape, before, size, private):
    """Of a block that had memory for all of its pages in that range before"""
    private = size if private else 0
    if shape == IN_PLACE:
        assert block['allocated-bytes'] == before['allocated-bytes']
    else:
        assert block['ordinary-bytes'] == before['ordinary-bytes'] - private
        # a kernel without cachestat(2) cannot tell
        assert block.get('allocated-bytes', private) == private


@each_shape
@pytest.mark.parametrize('machine', ['q35', long('pc'), 'microvm',
                                     long('q35,smm=off')])
def test_linux_boots(protect, shape, machine):
    guest = protect(machine=machine, mem='160M', cpus=2)
    verified, whole = guest.wait_verified()
    assert whole > 160 * .85 and verified > whole * .75
    assert_shape(guest.block(), shape)
    assert 'private 0 KiB' in guest.hmp('info guest-memfd')


@only_two
@pytest.mark.parametrize('backend', [
    'memory-backend-ram', 'memory-backend-memfd',
    long('memory-backend-ram,share=on'),
    'memory-backend-file,share=on,mem-path=/dev/shm'])
def test_shared_memory_may_be_of_any_kind(protect_bare, shape, backend):
    guest = protect_bare('-object', f'{backend},id=m0,size=64M',
                         machine='q35,memory-backend=m0')
    guest.do(f'fill {FREE} 16M')
    before, had = guest.block(), host_has_mib()
    for to in 'private', 'shared':
        assert guest.convert(FREE, 16 * MIB, to) == 0
        guest.do(f'fill {FREE} 16M seed=2')
        guest.do(f'verify {FREE} 16M seed=2')
        assert_one_copy(guest.block(), shape, before, 16 * MIB,
                        to == 'private')
        assert abs(host_has_mib() - had) < 4


@pytest.mark.long
@each_shape
def test_ovmf_boots_linux(protect, shape, tmp_path):
    if not os.path.exists(OVMF % 'CODE'):
        pytest.skip(f"{OVMF % 'CODE'} is not installed (package ovmf)")
    variables = shutil.copy(OVMF % 'VARS', tmp_path)
    guest = protect(
        '-drive', f"if=pflash,format=raw,readonly=on,file={OVMF % 'CODE'}",
        '-drive', f'if=pflash,format=raw,file={variables}', mem='256M')
    guest.wait_verified(timeout=300)
    assert_shape(guest.block(), shape)


@also_by_file
def test_pages_turn_private_and_back(protect_bare, shape):
    """One copy of each page is allocated, and what was not converted is as it
    was."""
    guest = protect_bare(cpus=2)
    assert guest.do('info')['may_convert']
    guest.do(f'fill {FREE} 32M')
    before = guest.block()
    start, size = FREE + 8 * MIB, 8 * MIB

    had = host_has_mib()
    for to, way in ('private', 'to-private'), ('shared', 'to-shared'):
        assert guest.convert(start, size, to) == 0
        block = guest.block()
        assert_shape(block, shape, private=size if to == 'private' else 0)
        assert block[way]['pages'] == size // PAGE
        if shape == IN_PLACE:
            guest.do(f'verify {start} {size}')
        guest.do(f'@1 fill {start} {size}')
        guest.do(f'@0 verify {FREE} 32M')
        assert_one_copy(guest.block(), shape, before, size, to == 'private')
        assert abs(host_has_mib() - had) < 4


@each_shape
def test_what_is_done_is_not_done_again(protect_bare, shape):
    guest = protect_bare()
    guest.convert(FREE, MIB, 'private')
    guest.convert(FREE + MIB, MIB, 'shared')
    guest.convert(FREE, MIB, 'private')
    assert guest.block()['to-private']['calls'] == 1
    assert guest.block()['to-shared']['calls'] == 0
    guest.convert(FREE, 2 * MIB, 'private')
    counters = guest.block()['to-private']
    assert (counters['calls'], counters['pages']) == (2, 2 * MIB // PAGE)
    assert counters['failures'] == 0
    assert 0 < counters['longest'] <= counters['total']


@each_shape
def test_what_cannot_be_private_is_refused(protect_bare, shape):
    guest = protect_bare()
    end = guest.do('info')['ram_end']
    for start, size, more in [
            (0xfec00000, PAGE, ''), (64 * MIB, PAGE, ''),
            (64 * MIB - PAGE, 2 * PAGE, ''), (0x8000 << 32, PAGE, ''),
            (0xfffc0000, PAGE, ''), (FREE, 1 << 50, ''),
            (FREE, PAGE, 'attributes=0x20')]:
        assert guest.convert(start, size, 'private', more) == EINVAL
        assert guest.block()['private-bytes'] == 0
    assert guest.do('hypercall 12 0 0x1000000000000000 16')['value'] == EINVAL
    # all of the address space can become shared, whatever is there
    guest.convert(FREE, MIB, 'private')
    assert guest.convert(0, 1 << 50, 'shared', 'force=1') == 0
    assert guest.block()['private-bytes'] == 0
    assert end <= 64 * MIB


@each_shape
@pytest.mark.parametrize('how', ['system_reset', 'triple'])
def test_a_reset_makes_all_shared_again(protect_bare, shape, how):
    guest = protect_bare(cpus=2)
    guest.do(f'fill {FREE} 16M')
    assert guest.convert(FREE, 8 * MIB, 'private') == 0
    guest.do(f'fill {FREE} 8M seed=1')
    # SeaBIOS puts ROMs and tables there
    assert guest.convert(0xc0000, 0x8000, 'private') in (0, EINVAL)
    if how == 'system_reset':
        guest.cmd('system_reset')
    else:
        guest.tell(f'@1 reset {how}')
    guest.wait_ready()
    assert_shape(guest.block(), shape)
    assert guest.do(f'read {FREE}')['value'] == 0
    guest.do(f'verify {FREE + 8 * MIB} 8M')
    assert guest.convert(FREE, 8 * MIB, 'private') == 0


@pytest.mark.parametrize('shape', [in_place])
def test_a_reset_that_fails_ends_the_vm_not_qemu(protect_bare, shape, fail):
    """Which still has nothing to look for in those pages"""
    guest = protect_bare()
    assert guest.convert(FREE, MIB, 'private') == 0
    fail('attributes 0 1000')
    guest.cmd('system_reset')
    wait_until(lambda: guest.cmd('query-status')['status'] == 'internal-error')
    assert guest.block()['private-bytes'] == MIB
    assert 'annot access memory' in guest.hmp(f'xp /1xg {FREE:#x}')
    with pytest.raises(QMPError):
        guest.cmd('cont')


@each_shape
def test_who_wakes_up_has_its_private_pages(protect_bare, shape):
    guest = protect_bare()
    assert guest.convert(FREE, 8 * MIB, 'private') == 0
    guest.tell('out 0x604 2 0x2400')        # ACPI's PM1 control: S3
    guest.event_wait('SUSPEND', timeout=60)
    guest.cmd('system_wakeup')
    guest.event_wait('WAKEUP', timeout=60)
    assert guest.block()['private-bytes'] == 8 * MIB


@each_shape
def test_processors_convert_at_once(protect_bare, shape):
    """The same range, their own ranges, and what is beside is left alone."""
    guest = protect_bare(cpus=2)
    guest.do(f'fill {FREE + 16 * MIB} 16M')
    guest.start(f'@all storm {FREE} 8M 150 seed=5')
    answers = guest.finish(timeout=600)
    for answer in answers:
        returned = {key: value for key, value in answer.items()
                    if key.startswith('returned_')}
        assert set(returned) <= {'returned_0', f'returned_{EINVAL}'}
        assert returned['returned_0'] > 100
    block = guest.block()
    assert block['shared-bytes'] + block['private-bytes'] == block['size']
    assert block['to-private']['failures'] == 0
    assert guest.convert(0, 1 << 32, 'shared', 'force=1') == 0
    assert guest.block()['private-bytes'] == 0
    guest.do(f'verify {FREE + 16 * MIB} 16M')


@only_two
def test_an_access_that_kvm_refuses_stops_the_vm(protect_bare, shape, fail):
    """And "cont" makes it again.  KVM keeps an address private over which
    something else lies by now: the shim lets it not be told."""
    guest = protect_bare()
    guest.do('config-write 0 0x93 0x33 1')
    assert guest.convert(0xd0000, 4 * PAGE, 'private') == 0
    fail('untold 0 1000')
    guest.do('config-write 0 0x93 0x30 1')
    guest.tell('read 0xd0000')
    for _ in range(2):
        event = guest.event_wait('GUEST_MEMFD_ACCESS_FAILED', timeout=60)
        assert event['data']['reason'] == 'no-private-backing'
        assert event['data']['gpa'] == 0xd0000
        wait_until(lambda: guest.cmd('query-status')['status'] == 'io-error')
        guest.cmd('cont')
    fail(None)
    guest.cmd('system_reset')
    guest.wait_ready()
    assert_shape(guest.block(), shape)


def assert_taken_back(protect_bare, shape, fail, to, order):
    """The second of two runs of pages fails, and the first is as it was."""
    ram = []
    if shape != IN_PLACE:
        ram = ['-object', 'memory-backend-memfd,id=m0,size=64M',
               '-machine', 'memory-backend=m0']
    guest = protect_bare(*ram)
    pages = [FREE, FREE + PAGE, FREE + 2 * PAGE]
    other = 'shared' if to == 'private' else 'private'
    assert guest.convert(FREE, 3 * PAGE, other) == 0
    assert guest.convert(pages[1], PAGE, to) == 0
    private = guest.block()['private-bytes']
    guest.do(f'fill {FREE} {3 * PAGE} seed=7')
    fail(order)
    assert guest.convert(FREE, 3 * PAGE, to) == -errno.EIO
    block = guest.block()
    assert block['private-bytes'] == private
    assert block[f'to-{to}']['failures'] == 1
    guest.do(f'verify {pages[1]} {PAGE} seed=7')
    if 'punch' not in order:
        guest.do(f'verify {FREE} {3 * PAGE} seed=7')
    fail(None)
    assert guest.convert(FREE, 3 * PAGE, to) == 0
    guest.do(f'fill {FREE} {3 * PAGE} seed=8')
    guest.do(f'verify {FREE} {3 * PAGE} seed=8')


each_way = pytest.mark.parametrize('to', ['private', 'shared'])


@each_shape
@each_way
def test_what_kvm_refuses_is_taken_back(protect_bare, shape, fail, to):
    assert_taken_back(protect_bare, shape, fail, to, 'attributes 1 1')


@with_two
@each_way
def test_what_cannot_be_punched_is_taken_back(protect_bare, shape, fail, to):
    assert_taken_back(protect_bare, shape, fail, to, 'punch 1 1')


@pytest.mark.parametrize('shape', [
    in_place, pytest.param(APART, marks=only_gmem)])
def test_a_page_that_is_held_is_waited_for(protect_bare, shape, fail):
    guest = protect_bare(cpus=2)
    guest.do(f'fill {FREE} 1M')
    fail('held 0 3')
    assert guest.convert(FREE, MIB, 'private') == 0
    assert guest.block()['to-private']['retries'] == 3
    assert guest.convert(FREE, MIB, 'shared') == 0
    fail('held 0 1000000')
    assert guest.convert(FREE, MIB, 'private') == EBUSY
    block = guest.block()
    assert block['private-bytes'] == 0
    assert block['to-private']['failures'] == 1
    if shape == IN_PLACE:
        guest.do(f'verify {FREE} 1M')


@each_shape
def test_private_pages_come_back_from_under_a_window(protect_bare, shape):
    guest = protect_bare()
    guest.do('config-write 0 0x93 0x33 1')
    assert guest.convert(0xd0000, 4 * PAGE, 'private') == 0
    guest.do('write 0xd0000 0x1234')
    guest.do('config-write 0 0x93 0x30 1')
    guest.do('read 0xd0000')
    guest.do('config-write 0 0x93 0x33 1')
    assert guest.do('read 0xd0000')['value'] == 0x1234
    assert guest.block()['private-bytes'] == 4 * PAGE


@each_shape
def test_a_dimm_that_is_unplugged_is_shared_again(protect_bare, shape):
    guest = protect_bare(mem='64M,slots=1,maxmem=1G')
    wanted = {'in-place': 'memory-backend-guest-memfd'}.get(
        guest.block()['backing'], 'memory-backend-memfd')
    add_backend(guest, 'm1', wanted)
    for _ in range(2):
        add_dimm(guest, 'm1', addr=4 << 30)
        guest.do(f'map 4G {DIMM}M')
        assert guest.do(f'read 4G')['value'] in (0, 0x55)
        guest.do('write 4G 0x55')
        assert guest.convert(4 << 30, 8 * MIB, 'private') == 0
        guest.do('fill 4G 8M')
        guest.do('verify 4G 8M')
        guest.cmd('device_del', {'id': 'm1-dimm'})
        guest.do('out 0xa00 4 0')       # ACPI: slot 0 ...
        guest.do('out 0xa14 1 8')       # ... is ejected
        guest.event_wait('DEVICE_DELETED', timeout=60)
        block, = [block for block in guest.blocks() if block['id'] == 'm1']
        assert not block['slots'] and block['private-bytes'] == 0
        # where nothing is, nothing is private either
        assert guest.convert(4 << 30, 8 * MIB, 'private') == EINVAL
    guest.cmd('object-del', {'id': 'm1'})


@each_shape
def test_a_device_finds_nothing_where_pages_are_private(protect_bare, shape):
    """Nor does who looks at memory from outside; QEMU lives."""
    guest = protect_bare('-device', 'edu')
    private, target = FREE, FREE + MIB
    guest.do(f'fill {FREE} 2M')
    before = guest.block()
    assert guest.convert(private, 2 * PAGE, 'private') == 0
    guest.do(f'fill {private} {2 * PAGE} seed=3')
    guest.do(f'dma out {private} 4096')
    guest.do(f'dma in {private} 4096')
    guest.do(f'dma out {target} 4096')
    guest.do(f'verify {private} {2 * PAGE} seed=3')
    assert 'annot access memory' in guest.hmp(f'xp /1xg {private:#x}')
    guest.do(f'verify {FREE + 2 * PAGE} {MIB - 2 * PAGE} ')
    assert_one_copy(guest.block(), shape, before, 2 * PAGE, True)
    assert guest.convert(private, 2 * PAGE, 'shared') == 0
    guest.do(f'fill {private} 64 seed=4')
    guest.do(f'dma copy {private} {target} 64')
    assert guest.do(f'sum {private} 64')['crc'] == \
        guest.do(f'sum {target} 64')['crc']


@each_shape
def test_a_ring_stays_shared(protect_bare, shape, tmp_path):
    """For as long as the device has it, and no longer"""
    disk = tmp_path / 'disk'
    disk.write_bytes(bytes(range(256)) * 64)
    guest = protect_bare('-drive', f'if=none,id=disk,format=raw,file={disk}',
                         '-device', 'virtio-blk-pci,drive=disk,'
                         'disable-legacy=off,iommu_platform=off')
    first, second, data = FREE + 5 * PAGE, 32 * MIB, 20 * MIB
    for ring, left in (first, second), (second, first):
        guest.do(f'vring {ring}')
        assert guest.do(f'vblk 0 {data} size=8K')['status'] == 0
        assert guest.convert(ring, PAGE, 'private') == EBUSY
        assert guest.convert(left, PAGE, 'private') == 0
        assert guest.convert(left, PAGE, 'shared') == 0
    # and what it is to fill with data may be private: nothing arrives there
    assert guest.convert(data, 2 * PAGE, 'private') == 0
    guest.do(f'fill {data} 8K seed=6')
    guest.tell(f'vblk 0 {data} size=8K patience=100M')
    try:
        assert guest.answer()['status'] != 0
    except Refused as why:
        assert 'does not answer' in str(why)
    guest.do(f'verify {data} 8K seed=6')


@pytest.fixture
def converting(protect):
    """A Linux that converts its memory when it is told to"""
    kernel = os.environ.get('GMEM_CONVERTING')
    if not kernel:
        pytest.skip('GMEM_CONVERTING names no kernel whose user space can '
                    'convert: run this through tests/check')

    def start(*args, **kwargs):
        guest = protect(*args, then='serve', fill=25, kernel=kernel, cpus=2,
                        **kwargs)
        guest.wait_verified()
        guest.wait_serving()
        return guest
    return start


@each_shape
@pytest.mark.parametrize('vhost', ['off', long('on')])
def test_linux_converts_while_devices_move_data(converting, shape, disk,
                                                vhost):
    guest = converting('-drive', f'if=virtio,format=raw,file={disk}',
                       '-netdev', f'{TAP}{vhost}', '-device', NIC)
    guest.do('convert 32 private')
    assert guest.block()['private-bytes'] == 32 * MIB
    guest.do('churn 32')
    assert_blocks_get_through(guest, '/dev/vda', disk)
    assert_packets_get_through(guest, 4)
    passes = int(guest.do('rest'))
    assert passes >= 2
    block = guest.block()
    assert block['to-private']['failures'] == 0
    assert block['to-shared']['pages'] >= passes // 2 * 32 * MIB // PAGE
    guest.do('convert 32 shared')
    assert_shape(guest.block(), shape)
    guest.do('verify')


@each_shape
def test_linux_aims_a_disk_at_private_memory(converting, shape, disk):
    """Its transfer fails, its memory is as it was, and the disk goes on"""
    guest = converting('-drive', f'if=none,id=disk,format=raw,file={disk}',
                       '-device', 'nvme,drive=disk,serial=1')
    guest.do('convert 4 private')
    # an unrecovered read, for the NVMe driver; the guest's kernel may have its
    # say on the same line
    assert guest.do('aim /dev/nvme0n1').startswith('No data available')
    guest.do('convert 4 shared')
    assert guest.do('aim /dev/nvme0n1') == 'Success'
    assert_blocks_get_through(guest, '/dev/nvme0n1', disk)


@only_two
def test_it_cannot_be_saved_or_watched(protect_bare, shape):
    guest = protect_bare()
    for command, arguments in [
            ('migrate', {'uri': 'exec:cat >/dev/null'}),
            ('calc-dirty-rate', {'calc-time': 1})]:
        with pytest.raises(QMPError, match='sw-protected|turn private'):
            guest.cmd(command, **arguments)
    assert 'sw-protected-guest cannot be' in guest.hmp('savevm x')


def refusal(*arguments):
    """What QEMU says when it does not start"""
    done = subprocess.run(
        [QEMU, '-nodefaults', '-display', 'none', '-S', *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False)
    assert done.returncode == 1, done
    return done.stderr


KVM = ['-accel', 'kvm']
MACHINE = 'q35,confidential-guest-support=s0'
MEMFD = ['-object', 'memory-backend-memfd,id=m0,size=128M']
WITH_M0 = f'{MACHINE},memory-backend=m0'


@pytest.mark.parametrize('arguments,why', [
    ([*KVM, *PROTECTED, '-machine', f'{MACHINE},smm=on'],
     'sw-protected-guest: smm=on: '),
    (['-accel', 'tcg', *PROTECTED, '-machine', MACHINE],
     'accelerator does not support confidential guest sw-protected-guest'),
    ([*KVM, *PROTECTED, '-machine', f'{MACHINE},guest-memfd=on'],
     'sw-protected-guest: guest-memfd=on: '),
    ([*KVM, f'{PROTECTED[0]}', f'{PROTECTED[1]},in-place=on', '-machine',
      MACHINE], 'sw-protected-guest: in-place=on: this kernel cannot'),
    ([*KVM, *PROTECTED, *MEMFD[:1], f'{MEMFD[1]},hugetlb=on,prealloc=off,'
      'reserve=off', '-machine', WITH_M0],
     "memory backend 'm0': huge pages: "),
    ([*KVM, *PROTECTED, *MEMFD[:1], f'{MEMFD[1]},share=off', '-machine',
      WITH_M0], "memory backend 'm0': share=off: "),
    ([*KVM, *PROTECTED, *MEMFD[:1], f'{MEMFD[1]},guest-memfd=on', '-machine',
      WITH_M0], "memory backend 'm0': guest-memfd=on: "),
    ([*KVM, *PROTECTED, '-machine', MACHINE, '-overcommit', 'mem-lock=on'],
     'sw-protected-guest: -overcommit mem-lock: '),
    (['-accel', 'kvm,xen-version=0x40011,kernel-irqchip=split', *PROTECTED,
      '-machine', MACHINE], 'sw-protected-guest: xen-version: '),
    ([*KVM, *PROTECTED, '-machine', MACHINE, *MEMFD, '-device',
      'nvme,serial=1,pmrdev=m0'], "memory backend 'm0': pmrdev keeps what"),
    ([*KVM, *PROTECTED, '-machine', MACHINE, '-only-migratable'],
     'sw-protected-guest cannot be migrated'),
    ([*KVM, *PROTECTED, '-machine', MACHINE, '-m', '128M,maxmem=1G', *MEMFD,
      '-device', 'virtio-mem-pci,memdev=m0'],
     "memory backend 'm0': virtio-mem cannot share")])
def test_what_cannot_be_is_refused_by_name(arguments, why):
    with in_place_kernel(False):
        assert why in refusal(*arguments)


@only_gmem
@pytest.mark.parametrize('arguments,why', [
    ([f'{PROTECTED[1]},in-place=off', '-machine', f'{MACHINE},guest-memfd=on'],
     'sw-protected-guest: guest-memfd=on: '),
    ([f'{PROTECTED[1]},in-place=on', '-machine', f'{MACHINE},guest-memfd=off'],
     'sw-protected-guest: in-place=on: '),
    ([PROTECTED[1], *MEMFD[:1], f'{MEMFD[1]},guest-memfd=off', '-machine',
      WITH_M0], "memory backend 'm0': guest-memfd=off: "),
    ([PROTECTED[1], '-machine', f'{MACHINE},guest-memfd-slots=mapped'],
     "memory backend 'pc.ram': slots=mapped: ")])
def test_what_cannot_be_in_place_is_refused_by_name(arguments, why):
    with in_place_kernel(True):
        assert why in refusal(*KVM, '-object', *arguments)
