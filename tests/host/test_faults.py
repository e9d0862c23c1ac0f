# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel refuses a memslot: no hole, no abort, and the reason is said."""
import functools
import itertools
import os
import re
import subprocess

import pytest
from guest import BOARD, BUILD, GMEM, MIB, RAM, Guest, GuestError, wait_until
from marks import NO_BARE, NO_DIMM, long, x86
from memslots import (assert_bound, assert_mapped, assert_no_hole, set_slots,
                      why_mapped)

from qemu.qmp.legacy import QMPError


# While it is logged it is mapped, on all kernels (else see test_dirty_log.py)
MAPPED_LOG = f'{GMEM},guest-memfd-dirty-log=mapped'


def refused_at_start(policy):
    """What QEMU says when it does not come up"""
    guest = None
    try:
        guest = Guest(machine=f'{GMEM},guest-memfd-slots={policy}')
        guest.wait_for('user space', timeout=10)
    except Exception as error:  # pylint: disable=broad-except
        log = getattr(error, 'output', None) or guest.get_log()
        assert getattr(error, 'exitcode', None) == 1 or guest.exitcode() == 1
        return log
    finally:
        if guest:
            guest.end()
    raise GuestError('QEMU came up')


def test_auto_maps_what_cannot_be_bound(boot, fail):
    fail('bound 0 1')
    guest = boot(machine=GMEM)
    guest.wait_verified()
    block = guest.block()
    assert_no_hole(block)
    assert block['bound-bytes'] == 0
    assert block['counters']['refused'] == 1
    assert 'refused' in {slot.get('why-mapped') for slot in block['slots']}


@pytest.mark.parametrize('policy,what', [
    ('bound', 'bound 0 1'), ('mapped', 'mapped 0 1'), ('auto', 'any 0 2')])
def test_a_machine_that_cannot_have_its_ram_does_not_start(fail, policy, what):
    fail(what)
    log = refused_at_start(policy)
    assert f"memory backend '{RAM}': KVM refuses a " in log
    assert 'Cannot allocate memory' in log


def test_a_running_guest_is_stopped_where_ram_would_be_missing(boot, fail):
    guest = boot(machine=f'{GMEM},guest-memfd-slots=bound')
    guest.wait_verified()
    fail('any 0 1000')
    guest.cmd('system_reset')
    guest.event_wait('STOP', timeout=60)
    assert guest.cmd('query-status')['status'] == 'internal-error'
    fail(None)
    guest.cmd('system_reset')
    guest.cmd('cont')
    guest.wait_verified()
    assert_no_hole(guest.block())


def add_dimm(guest):
    guest.cmd('object-add', {'qom-type': 'memory-backend-guest-memfd',
                             'id': 'm1', 'size': 128 * MIB})
    guest.cmd('device_add', driver='pc-dimm', id='dimm', memdev='m1')


def assert_does_not_run(guest, status):
    """cont says why; no vCPU enters KVM"""
    entries = vcpu_exits(guest)
    with pytest.raises(QMPError, match="memory backend '.*': KVM refuses"):
        guest.cmd('cont')
    assert guest.cmd('query-status')['status'] == status
    assert vcpu_exits(guest) == entries


def vcpu_exits(guest):
    """How often its processors have left KVM"""
    base = '/sys/kernel/debug/kvm'
    folder = next(name for name in os.listdir(base)
                  if name.startswith(f'{guest.get_pid()}-'))
    with open(f'{base}/{folder}/exits') as exits:
        return int(exits.read())


@x86(NO_DIMM)
def test_a_guest_that_would_lack_ram_is_not_started_or_continued(boot, fail):
    guest = boot('-S', machine=GMEM, mem='256M,slots=1,maxmem=1G')
    fail('any 0 1000')
    add_dimm(guest)
    assert_does_not_run(guest, 'prelaunch')
    fail(None)
    guest.cmd('cont')
    guest.wait_verified()
    for block in guest.blocks():
        assert_no_hole(block)


@pytest.mark.long
@x86(NO_DIMM)
def test_a_paused_guest_that_would_lack_ram_stays_so(boot, fail):
    guest = boot(machine=GMEM, mem='256M,slots=1,maxmem=1G')
    guest.wait_verified()
    guest.cmd('stop')
    fail('any 0 1000')
    add_dimm(guest)
    assert_does_not_run(guest, 'paused')
    guest.cmd('human-monitor-command', **{'command-line': 'cont'})
    assert guest.cmd('query-status')['status'] == 'paused'
    fail(None)
    guest.cmd('cont')
    assert guest.cmd('query-status')['status'] == 'running'
    for block in guest.blocks():
        assert_no_hole(block)


@x86('SMM')
def test_smm_without_ram_is_not_started(boot, fail):
    """Its address space comes when the machine is ready."""
    fail('mapped 1 1000')     # the first is for the window at 0xfeda0000
    guest = boot(machine='q35,smm=on,guest-memfd=on')
    assert_does_not_run(guest, 'prelaunch')
    fail(None)
    guest.cmd('cont')
    guest.wait_verified()


def test_a_log_that_cannot_end_when_the_guest_goes_on_stops_it(boot, fail):
    """The log of a paused guest ends when it is continued."""
    guest = boot(machine=f'{MAPPED_LOG},guest-memfd-slots=bound',
                 then='loop', fill=25)
    guest.wait_verified()
    log_begins(guest)
    guest.cmd('stop')
    guest.cmd('migrate_cancel')
    wait_until(lambda: guest.cmd('query-migrate')['status'] == 'cancelled')
    exits = vcpu_exits(guest)
    fail('any 0 1000')
    guest.cmd('cont')
    guest.event_wait('STOP', timeout=60)
    wait_until(lambda: guest.cmd('query-status')['status'] == 'internal-error')
    assert vcpu_exits(guest) == exits
    guest.cmd('system_reset')
    assert_does_not_run(guest, 'prelaunch')
    fail(None)
    guest.cmd('cont')
    guest.wait_verified()
    assert_bound(guest.block())


def test_a_guest_cannot_come_to_where_its_ram_is_missing(boot, fail, tmp_path):
    source = boot(machine=GMEM, then='loop', fill=25)
    source.wait_verified()
    source.cmd('migrate', uri=f'file:{tmp_path}/state')
    wait_until(lambda: source.cmd('query-migrate')['status'] == 'completed')
    destination = boot(machine=GMEM, then='loop', fill=25, incoming=True)
    fail('any 0 1000')
    destination.cmd('migrate-incoming', uri=f'file:{tmp_path}/state')
    status, log = destination.wait_ended()
    assert status == 1
    assert re.search("load of migration failed.*: memory backend "
                     f"'{RAM}': KVM refuses", log, re.S), log


@pytest.mark.long
def test_a_slot_that_kvm_keeps_stops_the_guest_for_good(boot, fail):
    guest = boot('-trace', 'gmem_slot', machine=GMEM)
    guest.wait_verified()
    fail('gone 0 1000')
    guest.cmd('system_reset')
    guest.event_wait('STOP', timeout=60)
    fail(None)
    guest.cmd('system_reset')
    with pytest.raises(QMPError, match='can never run again'):
        guest.cmd('cont')


@pytest.mark.parametrize('first', [long(0), 1, long(2)])
def test_a_change_that_fails_is_taken_back(boot, fail, tmp_path, first):
    """A migration turns bound slots into mapped ones; one of them fails."""
    guest = boot(machine=f'{MAPPED_LOG},guest-memfd-slots=bound')
    guest.wait_verified()
    fail(f'mapped {first} 1')
    guest.cmd('migrate', uri=f'file:{tmp_path}/state')
    guest.event_wait('STOP', timeout=60)
    block = guest.block()
    assert block['counters']['refused'] == 1
    assert_no_hole(block)
    assert block['size'] == 256 * MIB


def log_begins(guest):
    guest.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    guest.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: why_mapped(guest.block()) == {'dirty-log'})


def log_ends(guest):
    guest.cmd('migrate_cancel')
    wait_until(lambda: guest.cmd('query-migrate')['status'] == 'cancelled')
    wait_until(lambda: 'dirty-log' not in why_mapped(guest.block()))


def test_auto_maps_what_cannot_be_bound_again(boot, fail):
    """The n-th change back from mapped to bound fails, for every n."""
    guest = boot(machine=MAPPED_LOG, then='loop', fill=25)
    guest.wait_verified()
    for nth in itertools.count():
        log_begins(guest)
        fail(f'bound {nth} 1')
        log_ends(guest)
        fail(None)
        block = guest.block()
        assert_no_hole(block)
        guest.wait_pass()
        if block['counters']['refused'] == nth:
            break
        assert 'refused' in why_mapped(block)
        set_slots(guest, 'auto')
        assert_bound(guest.block())
    assert_bound(block)
    assert nth == len([slot for slot in block['slots'] if slot['bound']])


def test_a_refusal_on_request_is_not_remembered(boot, fail):
    """What was there stays, and the next time the kernel is asked anew."""
    def policy():
        return guest.cmd('qom-get', path=f'/objects/{RAM}', property='slots')

    def refused():
        fail('bound 0 1')
        with pytest.raises(QMPError, match=f"'{RAM}': slots=bound: KVM "
                           'refuses to bind a memslot; use slots=auto'):
            set_slots(guest, 'bound')

    guest = boot(machine=f'{GMEM},guest-memfd-slots=mapped')
    guest.wait_verified()
    refused()
    assert policy() == 'mapped'
    assert_mapped(guest.block(), 'requested')
    fail('bound 0 9')
    set_slots(guest, 'auto')
    assert 'refused' in why_mapped(guest.block())
    refused()
    assert policy() == 'auto'
    assert_bound(guest.block())


@x86(NO_DIMM)
def test_a_refusal_leaves_what_is_bound(boot, fail):
    guest = boot(machine=MAPPED_LOG, then='loop', fill=25,
                 mem='256M,slots=1,maxmem=1G')
    guest.wait_verified()
    log_begins(guest)
    fail('bound 1 1')
    log_ends(guest)
    fail(None)
    before = guest.block()['slots']
    assert why_mapped(guest.block()) == {None, 'refused'}
    add_dimm(guest)
    after, dimm = (block['slots'] for block in guest.blocks())
    assert after == before and dimm[0]['bound']


@x86(NO_DIMM)
def test_what_must_be_bound_does_not_run_mapped(boot, fail):
    """Whoever asks for it once more gets the refusal, and cont as well."""
    guest = boot('-S', machine=f'{GMEM},guest-memfd-slots=bound',
                 mem='256M,slots=1,maxmem=1G')
    fail('bound 0 1000')
    add_dimm(guest)
    for _ in range(2):
        with pytest.raises(QMPError, match='KVM refuses to bind'):
            guest.cmd('qom-set', path='/objects/m1', property='slots',
                      value='bound')
        assert_does_not_run(guest, 'prelaunch')
    fail(None)
    guest.cmd('cont')
    guest.wait_verified()
    for block in guest.blocks():
        assert_bound(block)


def test_a_pause_begins_when_the_first_vcpu_is_held(boot, fail):
    guest = boot(machine=GMEM, then='loop', fill=25)
    guest.wait_verified()
    fail('late 500 1')
    for policy in ['mapped', 'auto'] * 2:   # it may just be out of KVM
        set_slots(guest, policy)
    fail(None)
    assert guest.block()['counters']['longest-pause'] >= 500 * 10 ** 6


@pytest.mark.parametrize('first', [0, *map(long, range(1, 8))])
def test_a_change_back_that_fails_leaves_what_was_there(boot, fail, first):
    guest = boot(machine=f'{MAPPED_LOG},guest-memfd-slots=bound')
    guest.wait_verified()
    log_begins(guest)
    fail(f'any {first} 1')
    guest.cmd('migrate_cancel')
    guest.event_wait('STOP', timeout=60)
    assert guest.cmd('query-status')['status'] == 'internal-error'
    block = guest.block()
    assert block['counters']['refused'] == 1
    assert_no_hole(block)
    fail(None)
    guest.cmd('system_reset')
    guest.cmd('cont')
    guest.wait_verified()
    assert_bound(guest.block())


def test_a_probe_that_gets_no_memory_proves_nothing(boot, fail):
    guest = boot(machine=BOARD)
    fail('bound 0 1')
    bound, = [interface for interface in guest.cmd('query-guest-memfd')['host']
              if interface['name'] == 'bound-slots']
    assert 'Cannot allocate memory' in bound['found-by']
    assert 'available' not in bound


@x86(NO_BARE)
def test_a_failure_stops_a_suspended_guest_too(boot_bare, fail, tmp_path):
    """It has put itself to sleep, by the register that ACPI has for it."""
    guest = boot_bare(machine=f'{MAPPED_LOG},guest-memfd-slots=bound')
    guest.start('out 0x604 2 0x2400')
    wait_until(lambda: guest.cmd('query-status')['status'] == 'suspended')
    fail('mapped 0 1')
    guest.cmd('migrate', uri=f'file:{tmp_path}/state')
    wait_until(lambda: guest.cmd('query-status')['status'] == 'internal-error')
    fail(None)
    guest.cmd('system_reset')
    guest.cmd('cont')
    wait_until(lambda: guest.cmd('query-status')['status'] == 'running')


@pytest.mark.long
def test_a_loaded_guest_runs_when_its_ram_is_there(boot, fail, tmp_path):
    """Then its processors get all their state, which includes its clock."""
    image = tmp_path / 'disk.qcow2'
    subprocess.run([f'{BUILD}/qemu-img', 'create', '-q', '-f', 'qcow2',
                    image, '1G'], check=True)
    boot = functools.partial(boot, '-drive', f'if=none,id=disk,file={image}',
                             machine=GMEM, then='loop', fill=25)
    source = boot()
    source.wait_pass()
    assert not source.hmp('savevm one')
    source.cmd('quit')
    source.wait_ended()
    guest = boot('-S')
    fail('any 0 1000')
    assert 'KVM refuses' in guest.hmp('loadvm one')
    assert_does_not_run(guest, 'prelaunch')
    fail(None)
    guest.cmd('cont')
    for _ in range(2):
        guest.wait_pass()
    assert_no_hole(guest.block())


@pytest.mark.long
@x86(NO_BARE)
def test_a_snapshot_that_cannot_log_leaves_the_guest_paused(boot_bare, fail,
                                                            tmp_path):
    image = tmp_path / 'disk.qcow2'
    subprocess.run([f'{BUILD}/qemu-img', 'create', '-q', '-f', 'qcow2',
                    image, '64M'], check=True)
    guest = boot_bare('-drive', f'if=none,id=disk,file={image}',
                      machine=MAPPED_LOG)
    fail('any 0 1000')
    assert 'KVM refuses' in guest.hmp('savevm one') + guest.log()
    assert guest.cmd('query-status')['status'] == 'paused'
    fail(None)
    guest.cmd('system_reset')
    guest.cmd('cont')
    wait_until(lambda: guest.cmd('query-status')['status'] == 'running')
