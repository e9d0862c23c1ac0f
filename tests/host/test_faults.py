# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel refuses a memslot: no hole, no abort, and the reason is said."""
import itertools

import pytest
from guest import MIB, Guest, GuestError, wait_until
from marks import long
from memslots import assert_bound, assert_no_hole, set_slots, why_mapped


def refused_at_start(policy):
    """What QEMU says when it does not come up"""
    guest = None
    try:
        guest = Guest(machine='q35,guest-memfd=on,'
                              f'guest-memfd-slots={policy}')
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
    guest = boot(machine='q35,guest-memfd=on')
    guest.wait_verified()
    block = guest.block()
    assert_no_hole(block)
    assert block['bound-bytes'] == 0
    assert block['counters']['refused'] == 1
    assert 'refused' in {slot['why-mapped'] for slot in block['slots']}


@pytest.mark.parametrize('policy,what', [
    ('bound', 'bound 0 1'), ('mapped', 'mapped 0 1'), ('auto', 'any 0 2')])
def test_a_machine_that_cannot_have_its_ram_does_not_start(fail, policy, what):
    fail(what)
    log = refused_at_start(policy)
    assert "memory backend 'pc.ram': KVM refuses a " in log
    assert 'Cannot allocate memory' in log


def test_a_running_guest_is_stopped_where_ram_would_be_missing(boot, fail):
    guest = boot(machine='q35,guest-memfd=on,guest-memfd-slots=bound')
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


@pytest.mark.parametrize('first', [long(0), 1, long(2)])
def test_a_change_that_fails_is_taken_back(boot, fail, tmp_path, first):
    """A migration turns bound slots into mapped ones; one of them fails."""
    guest = boot(machine='q35,guest-memfd=on,guest-memfd-slots=bound')
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
    guest = boot(machine='q35,guest-memfd=on', then='loop', fill=25)
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


@pytest.mark.parametrize('first', [0, *map(long, range(1, 8))])
def test_a_change_back_that_fails_leaves_what_was_there(boot, fail, first):
    guest = boot(machine='q35,guest-memfd=on,guest-memfd-slots=bound')
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
