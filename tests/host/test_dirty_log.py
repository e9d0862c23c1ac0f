# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that logs what is written in bound slots: they stay bound."""
import itertools
import os

import pytest
from dimms import block_of, resize, virtio_mem
from guest import MIB, wait_until
from marks import long
from memslots import (assert_bound, assert_logged, logged, set_dirty_log,
                      set_slots, why_mapped)
from migration import (RING, hold_back, in_flight, is_settled, let_go, listen,
                       pauses, set_parameters, wait_completed)

from qemu.qmp.legacy import QMPError

pytestmark = pytest.mark.kernel('gmem', 'gmem-debug')
MACHINE = 'q35,guest-memfd=on'
RATE = {'mode': 'dirty-bitmap', 'calc-time-unit': 'millisecond'}


@pytest.fixture
def busy(boot):
    guest = boot(machine=MACHINE, cpus=2, fill=30, then='loop')
    guest.wait_verified()
    return guest


def pages_mapped(guest):
    """How many pages KVM has mapped for it"""
    base = '/sys/kernel/debug/kvm'
    folder = next(name for name in os.listdir(base)
                  if name.startswith(f'{guest.get_pid()}-'))
    with open(f'{base}/{folder}/pages_4k') as pages:
        return int(pages.read())


def log_begins(guest, bound=True):
    """... of a migration that does not end by itself, however idle the guest"""
    set_parameters({'max-bandwidth': MIB // 16}, guest)
    guest.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: logged(*guest.blocks()) == {True})
    for block in guest.blocks():
        assert_logged(block, bound)


def log_ends(guest):
    guest.cmd('migrate_cancel')
    wait_until(lambda: guest.cmd('query-migrate')['status'] == 'cancelled')
    wait_until(lambda: logged(*guest.blocks()) == {False})


def measure_for(guest, milliseconds):
    guest.cmd('calc-dirty-rate', **RATE, **{'calc-time': milliseconds})
    wait_until(lambda: logged(*guest.blocks()) == {True})


def measured(guest):
    wait_until(lambda: guest.cmd('query-dirty-rate')['status'] == 'measured')
    wait_until(lambda: logged(*guest.blocks()) == {False})


def test_it_begins_and_ends_without_a_pause(busy):
    """No slot is made anew, and no page has to be mapped again."""
    counters = busy.block()['counters']
    for _ in range(3):
        pages = pages_mapped(busy)
        log_begins(busy)
        busy.wait_pass()
        log_ends(busy)
        assert pages_mapped(busy) >= pages
        assert_bound(busy.block())
    assert busy.block()['counters'] == counters
    busy.wait_pass()


def test_the_user_can_have_it_in_mapped_slots(traveller):
    traveller.go(memory='mapped-log')
    source = traveller.guest
    before = pauses(source)
    traveller.go()
    # of the destination; the source had one when its log began
    assert pauses(traveller.guest) == 0
    assert before == 0


def rewritten_behind_it(source):
    """A migration is in its first pass, beyond memory that the guest then
    rewrites: only KVM's log knows of it.  (Zero pages go at once.)"""
    source.do('fill 8M 32M seed=1')
    destination = yield
    hold_back(source, 8 * MIB)
    source.cmd('migrate', uri=listen(destination))
    wait_until(lambda: in_flight(source).get('ram', {}).get('normal', 0) >
               16 * MIB // 4096)
    set_parameters({'max-bandwidth': MIB // 16}, source)
    source.do('fill 8M 8M seed=2')
    yield


def assert_has_it(destination):
    destination.do('verify 8M 8M seed=2')
    destination.do('verify 16M 24M seed=1')


def map_and_bind(source):
    for policy, bound in ('mapped', False), ('auto', True):
        set_dirty_log(source, policy)
        assert_logged(source.block(), bound)


def map_at_all(source):
    set_slots(source, 'mapped')
    assert why_mapped(source.block()) == {'requested'}
    assert logged(source.block()) == {True}


def map_while_kvm_does_not_tell(source):
    """What is not known to be clean is dirty."""
    source.order('log 0 1')
    set_dirty_log(source, 'mapped')
    source.order(None)
    assert_logged(source.block(), bound=False)
    assert source.block()['counters']['refused'] == 0


def flip_pam(guest, values=(0x33, 0x00, 0x33)):
    """RAM below 1 MiB appears, and the slot above changes its size."""
    for value in values:
        for register in range(0x90, 0x97):
            guest.do(f'config-write 0 {register:#x} {value:#x} 1')


def move_by_pam(source):
    slots = source.block()['slots']
    flip_pam(source)
    assert source.block()['slots'] != slots
    assert logged(source.block()) == {True}


def move_while_kvm_does_not_tell(source):
    source.order('log 0 1000')
    move_by_pam(source)
    source.order(None)


# The second kind of bitmap: it is cleared as soon as it is read
LOGS = {'bitmap': ('kvm', {}), 'ring': (RING, {}),
        'cleared': ('kvm', {'GMEM_HIDE': 'clear'})}


@pytest.mark.parametrize('way', [
    map_and_bind, long(map_at_all), map_while_kvm_does_not_tell,
    long(move_by_pam), move_while_kvm_does_not_tell])
@pytest.mark.parametrize('log', [long('bitmap'), long('ring'), 'cleared'])
def test_a_slot_that_is_made_anew_takes_its_log_along(boot_bare, fail,
                                                      monkeypatch, way, log):
    accel, env = LOGS[log]
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    source, destination = (
        boot_bare(machine=MACHINE, mem='64M', accel=accel, incoming=incoming)
        for incoming in (False, True))
    source.order = fail
    steps = rewritten_behind_it(source)
    next(steps)
    steps.send(destination)
    way(source)
    let_go(source)
    wait_completed(source)
    wait_completed(destination)
    assert_has_it(destination)


def test_what_is_not_plugged_is_not_read_when_a_slot_is_made_anew(growing):
    """(KVM says of all of a new slot that it was written.)"""
    guest = growing(*virtio_mem('dynamic-memslots=off'))
    resize(guest, 128)
    hold_back(guest, 8 * MIB)
    guest.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: logged(*guest.blocks()) == {True})
    guest.cmd('qom-set', path='/objects/vm', property='dirty-log',
              value='mapped')
    let_go(guest)
    wait_completed(guest)
    assert block_of(guest, 'vm')['allocated-bytes'] <= 128 * MIB


def test_bound_slots_are_refused_to_who_asks_amid_a_log(fail, busy):
    set_slots(busy, 'mapped')
    set_parameters({'max-bandwidth': MIB}, busy)
    busy.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: logged(busy.block()) == {True})
    fail('bound 0 1000')
    with pytest.raises(QMPError, match='slots=bound: KVM refuses to bind'):
        set_slots(busy, 'bound')
    assert why_mapped(busy.block()) == {'requested'}
    log_ends(busy)
    assert busy.cmd('query-status')['running']
    fail(None)
    set_slots(busy, 'bound')
    assert_bound(busy.block())
    busy.wait_pass()


@pytest.mark.parametrize('before,after', [long('0x00', '0x30'),
                                          ('0x30', '0x00')])
def test_a_slot_that_kvm_keeps_is_nobody_else_s(boot_bare, fail, before, after):
    """Its number is not used again, for a slot with a smaller bitmap, and QEMU
    lives though the BIOS cannot be where the slot is."""
    guest = boot_bare(machine=MACHINE, mem='64M')
    guest.do('fill 8M 32M')
    guest.do(f'config-write 0 0x90 {before} 1')
    log_begins(guest)
    fail('gone 0 1')
    guest.tell(f'config-write 0 0x90 {after} 1')
    guest.event_wait('STOP', timeout=60)
    fail(None)
    let_go(guest)
    wait_until(lambda: is_settled(guest))
    with pytest.raises(QMPError, match='can never run again'):
        guest.cmd('cont')


def test_what_a_ring_still_holds_when_the_log_has_ended(boot_bare):
    """Slots come and go before anybody has looked."""
    guest = boot_bare(machine=MACHINE, mem='64M', accel=RING)
    for _ in range(4):
        log_begins(guest)
        guest.do('fill 8M 8M')
        log_ends(guest)
        flip_pam(guest, (0x33, 0x00))
    guest.do('verify 8M 8M')
    assert logged(guest.block()) == {False}


@pytest.mark.long
def test_memory_that_comes_is_logged_at_once(growing):
    guest = growing(*virtio_mem('dynamic-memslots=on'))
    measure_for(guest, 15000)
    resize(guest, 128)
    assert logged(block_of(guest, 'vm')) == {True}
    assert why_mapped(*guest.blocks()) == {None}
    measured(guest)
    assert pauses(guest) == 0
    guest.do('fill 25')


def test_kvm_refuses_to_log_memory_that_comes(growing, fail):
    """It is mapped as long as there is a log; the rest stays bound."""
    guest = growing(*virtio_mem('dynamic-memslots=on'))
    measure_for(guest, 15000)
    fail('bound 0 1')
    resize(guest, 128)
    fail(None)
    ram, comes = block_of(guest, 'pc.ram'), block_of(guest, 'vm')
    assert why_mapped(comes) == {'dirty-log'} and logged(comes) == {True}
    assert_logged(ram)
    assert "'vm': KVM refuses to begin the dirty log" in guest.log()
    measured(guest)
    assert why_mapped(*guest.blocks()) == {None}
    guest.do('fill 25')


@pytest.mark.parametrize('policy', ['auto', long('bound')])
def test_kvm_refuses_to_begin_it(fail, busy, policy):
    """The n-th slot's, for every n: from there on they are mapped for it."""
    set_slots(busy, policy)
    busy.blocks()              # the kernel's interfaces are found out
    refused = 0
    for nth in itertools.count():
        fail(f'bound {nth} 1')
        set_parameters({'max-bandwidth': MIB}, busy)
        busy.cmd('migrate', uri='exec:cat > /dev/null')
        wait_until(lambda: logged(busy.block()) == {True})
        fail(None)
        why = why_mapped(busy.block())
        now = busy.block()['counters']['refused']
        busy.wait_pass()
        log_ends(busy)
        assert_bound(busy.block())
        if now == refused:
            assert why == {None}
            break
        refused = now
        assert why == ({None, 'dirty-log'} if nth else {'dirty-log'})
    assert refused == nth > 2
    busy.wait_pass()


def test_kvm_refuses_to_end_it(fail, busy):
    """The n-th slot's, for every n: that slot is made anew."""
    for nth in itertools.count():
        log_begins(busy)
        before = pauses(busy)
        fail(f'bound {nth} 1')
        log_ends(busy)
        fail(None)
        assert_bound(busy.block())
        if pauses(busy) == before:
            break
        assert pauses(busy) == before + 1
        assert 'KVM refuses to end the dirty log' in busy.log()
    assert busy.block()['counters']['refused'] == nth > 2
    busy.wait_pass()


@pytest.mark.long
def test_a_guest_whose_slots_cannot_come_back_is_stopped(fail, busy):
    set_slots(busy, 'bound')
    log_begins(busy)
    fail('any 0 1000')
    busy.cmd('migrate_cancel')
    busy.event_wait('STOP', timeout=60)
    assert busy.cmd('query-status')['status'] == 'internal-error'
    fail(None)
    busy.cmd('system_reset')
    busy.cmd('cont')
    busy.wait_verified()
    assert_bound(busy.block())
    assert logged(busy.block()) == {False}
