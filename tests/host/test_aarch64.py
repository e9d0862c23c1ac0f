# SPDX-License-Identifier: GPL-2.0-or-later
"""What an arm64 host and its guests have, and have not."""
import pytest
from guest import BOARD, GMEM, refusal
from marks import aarch64, long
from memslots import assert_bound

pytestmark = aarch64('what it is about')
X86_ALONE = 'private-memory', 'sw-protected-vm', 'convert-in-place'


def host(guest):
    return {interface['name']: interface
            for interface in guest.cmd('query-guest-memfd')['host']}


@pytest.mark.parametrize('args,machine,words', [
    ((), f'{GMEM},mte=on',
     "memory backend 'mach-virt.ram': mte=on: KVM has no memory tags"),
    (('-object', 'memory-backend-memfd,id=m0,size=256M,guest-memfd=on'),
     f'{BOARD},mte=on,memory-backend=m0', "memory backend 'm0': mte=on: "),
    (('-object', 'sw-protected-guest,id=s0'),
     f'{BOARD},confidential-guest-support=s0', 'sw-protected-guest'),
    long((), f'{GMEM},smm=on', 'smm')])
def test_what_a_guest_cannot_have_is_refused(args, machine, words):
    assert words in refusal(*args, machine=machine)


def test_a_backend_without_a_guest_memfd_may_be_beside_tags():
    """... as far as the host has them"""
    said = refusal('-object', 'memory-backend-ram,id=m0,size=256M',
                   machine=f'{BOARD},mte=on,memory-backend=m0')
    assert 'guest_memfd' not in said and 'MTE' in said


def test_the_host_is_told_as_it_is(boot):
    guest = boot('-S', machine=GMEM)
    told = host(guest)
    for name in 'create', 'mmap', 'init-shared', 'bound-slots':
        assert told[name]['available'], name
    for name in X86_ALONE:
        assert not told[name]['available'], name


@pytest.mark.parametrize('version', [3, long('host')])
def test_interrupts_of_each_kind(boot, version):
    guest = boot(machine=f'virt,guest-memfd=on,gic-version={version}',
                 fill=30, cpus=4)
    guest.wait_verified()
    assert_bound(guest.block())
