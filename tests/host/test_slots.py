# SPDX-License-Identifier: GPL-2.0-or-later
"""Bound slots become mapped and bound again under a running guest."""
import time

import pytest
from guest import MIB
from test_machines import HOLES


def set_slots(guest, policy):
    guest.cmd('qom-set', path='/objects/pc.ram', property='slots',
              value=policy)


def why_mapped(block):
    """Of the slots in the ordinary address space"""
    return {slot['why-mapped'] for slot in block['slots']
            if slot['as-id'] == 0}


def assert_bound(block):
    assert block['bound-bytes'] > block['size'] - HOLES
    assert why_mapped(block) == {'none'}


def assert_mapped(block, why):
    assert block['bound-bytes'] == 0
    assert block['mapped-bytes'] > block['size'] - HOLES
    assert why_mapped(block) == {why}


def wait_until(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)


@pytest.fixture
def busy(boot):
    """A guest of two processors that reads its memory back, for ever"""
    guest = boot(machine='q35,guest-memfd=on', cpus=2, fill=30, then='loop')
    guest.wait_verified()
    return guest


def test_the_user_changes_slots_of_a_running_guest(busy):
    for _ in range(5):
        set_slots(busy, 'mapped')
        assert_mapped(busy.block(), 'requested')
        busy.wait_pass()
        set_slots(busy, 'bound')
        assert_bound(busy.block())
        busy.wait_pass()
    counters = busy.block()['counters']
    assert counters['refused'] == 0
    assert counters['pauses'] >= 10
    assert counters['longest-pause'] > 0


def test_a_cancelled_migration_leaves_it_bound(busy):
    busy.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    for _ in range(3):
        busy.cmd('migrate', uri='exec:cat > /dev/null')
        wait_until(lambda: why_mapped(busy.block()) == {'dirty-log'})
        assert_mapped(busy.block(), 'dirty-log')
        busy.wait_pass()
        busy.cmd('migrate_cancel')
        wait_until(lambda: busy.cmd('query-migrate')['status'] == 'cancelled')
        wait_until(lambda: why_mapped(busy.block()) == {'none'})
        assert_bound(busy.block())
        busy.wait_pass()


def test_slots_cannot_be_bound_before_the_log_ends(busy):
    """Asking for bound slots during a migration takes effect after it."""
    busy.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    busy.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: why_mapped(busy.block()) == {'dirty-log'})
    set_slots(busy, 'bound')
    assert_mapped(busy.block(), 'dirty-log')
    busy.cmd('migrate_cancel')
    wait_until(lambda: why_mapped(busy.block()) == {'none'})
    busy.wait_pass()
