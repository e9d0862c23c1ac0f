# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's memory fails under a guest: broken pages, and none left."""
import errno
import os
import re
import signal

import pytest
from guest import wait_until
from marks import long, x86

pytestmark = x86('machine checks')
INJECT = '/sys/kernel/debug/hwpoison/corrupt-pfn'
TRACE = '/sys/kernel/tracing'
NO_PAGE = '/sys/kernel/debug/fail_page_alloc'
PAGE = 4096
# Linux panics at an error it is told of by a processor of AMD without these
RECOVERS = 'qemu64,-svm,+succor,+overflow-recov'


def write(path, text):
    with open(path, 'w') as file:
        file.write(str(text))


def hmp(guest, line):
    return guest.cmd('human-monitor-command', **{'command-line': line})


def word_of(guest):
    """The guest-physical address of a word the guest reads again and again"""
    return int(guest.wait_for(r'a word is at 0x([0-9a-f]+)\n')[1], 16)


def pfn_through_qemu(guest, gpa):
    """QEMU looks at the page, so it has it in its own page tables from now"""
    found = re.search('0x[0-9a-f]+$', hmp(guest, f'gpa2hpa {gpa}').strip())
    return int(found[0], 16) // PAGE


def poison(pfn):
    if not os.path.exists(INJECT):
        pytest.skip(f'no {INJECT} (CONFIG_HWPOISON_INJECT)')
    injector = os.open(INJECT, os.O_WRONLY)
    try:
        os.write(injector, hex(pfn).encode())
    except OSError as err:
        # done, but the file still has the page
        assert err.errno == errno.EBUSY
    finally:
        os.close(injector)


@pytest.fixture
def traced_faults():
    """pfn_of(gpa): where KVM last said it maps that page to, without QEMU"""
    event = f'{TRACE}/events/kvmmmu/kvm_mmu_set_spte/enable'
    write(f'{TRACE}/buffer_size_kb', 32768)
    write(event, 1)

    def pfn_of(gpa):
        write(event, 0)
        wanted = re.compile(rf'gfn 0*{gpa // PAGE:x} spte ([0-9a-f]+) ')
        with open(f'{TRACE}/trace') as trace:
            sptes = [found[1] for found in map(wanted.search, trace) if found]
        return (int(sptes[-1], 16) & (1 << 52) - 1) // PAGE

    yield pfn_of
    write(event, 0)
    write(f'{TRACE}/trace', '')
    write(f'{TRACE}/buffer_size_kb', 1408)


def assert_told_and_survives_reset(guest):
    """The guest learns of the page; after its reset all memory is good.
    (Linux panics, or kills the program that reads it.)"""
    guest.fatal = 'gmem-guest: (CORRUPT|FAILED)'
    guest.wait_for(r'gmem-guest: SIGBUS|[Mm]achine [Cc]heck|Hardware Error')
    guest.wait_for('user space')
    guest.wait_verified()


@pytest.mark.parametrize('memory', [
    'guest-memfd=off', 'guest-memfd=on',
    long('guest-memfd=on,guest-memfd-slots=mapped')])
def test_a_broken_page_is_a_machine_check(boot, memory):
    guest = boot(machine=f'q35,{memory}', then='loop', fill=25)
    gpa = word_of(guest)
    poison(pfn_through_qemu(guest, gpa))
    assert_told_and_survives_reset(guest)


def memory_failures(guest):
    """What QEMU has told of them by now"""
    return [event['data'] for event in guest.get_qmp_events()
            if event['event'] == 'MEMORY_FAILURE']


def test_a_broken_page_that_only_kvm_has_is_one_machine_check(serving,
                                                              traced_faults):
    """No SIGBUS tells QEMU: KVM_RUN fails with EHWPOISON.  The guest kills
    the program that reads the page, and goes on.  (action-required is a bit
    of Intel's; here it is the signal that tells.)"""
    guest = serving('-trace', 'gmem_run_failed', '-cpu', RECOVERS)
    guest.tell('victim 1')
    poison(traced_faults(int(
        guest.wait_for(r'a victim is at 0x([0-9a-f]+)\n')[1], 16)))
    assert guest.wait_for(r'victim: signal (\d+)')[1] == str(signal.SIGBUS)
    guest.do('verify')
    assert memory_failures(guest) == [{
        'recipient': 'guest', 'action': 'inject',
        'flags': {'action-required': False, 'recursive': False}}]
    guest.cmd('system_reset')
    guest.wait_verified()
    assert memory_failures(guest) == []
    assert 'gmem_run_failed' in guest.log()


def test_two_processors_meet_a_broken_page(serving, traced_faults):
    """Each tells all processors of it, as those that are not AMD's do.  Linux
    kills the programs or panics; either way it can do so, and be reset."""
    guest = serving('-cpu', 'qemu64,-svm,vendor=GenuineIntel', cpus=2)
    guest.tell('victim 2')
    poison(traced_faults(int(
        guest.wait_for(r'a victim is at 0x([0-9a-f]+)\n')[1], 16)))
    guest.wait_for(r'victim: signal 7|[Mm]achine [Cc]heck')
    guest.cmd('system_reset')
    guest.fatal = 'gmem-guest: (CORRUPT|FAILED)'
    guest.wait_for('user space')
    guest.wait_verified()


@pytest.fixture
def starve():
    """starve(thread, n): its next n allocations of pages by the kernel fail"""
    for name, value in {'task-filter': 'Y', 'ignore-gfp-wait': 'N',
                        'ignore-gfp-highmem': 'N', 'min-order': 0,
                        'interval': 1, 'probability': 100, 'times': 0,
                        'verbose': 0}.items():
        write(f'{NO_PAGE}/{name}', value)

    def arm(thread, n):
        write(f'/proc/{thread}/make-it-fail', 1)
        write(f'{NO_PAGE}/times', n)
    yield arm
    write(f'{NO_PAGE}/probability', 0)


def wait_stopped_for_memory(guest):
    event = guest.event_wait('GUEST_MEMFD_NO_MEMORY', timeout=120)
    wait_until(lambda: guest.cmd('query-status')['status'] == 'io-error')
    return event['data']


@pytest.mark.kernel('stock-debug', 'gmem-debug')
def test_a_guest_that_gets_no_page_is_stopped_and_goes_on_later(serving,
                                                                starve):
    guest = serving(fill=5)
    thread, = [cpu['thread-id'] for cpu in guest.cmd('query-cpus-fast')]
    before = guest.block()['size']
    starve(thread, 1)
    guest.tell('fill 20')
    data = wait_stopped_for_memory(guest)
    assert data['memdev'] == 'pc.ram'
    assert 0 < data['offset'] < before and data['offset'] % PAGE == 0
    starve(thread, 1)
    guest.cmd('cont')
    assert wait_stopped_for_memory(guest)['offset'] == data['offset']
    guest.cmd('cont')
    guest.wait_verified()
    assert 'the host has no memory for a page of the guest' in guest.log()
