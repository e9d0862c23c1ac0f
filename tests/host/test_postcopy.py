# SPDX-License-Identifier: GPL-2.0-or-later
"""Postcopy into a guest_memfd: the guest runs while its pages come in, and
reads what it wrote; where the kernel cannot do that, it is refused."""
import os
import random
import re
import signal
import threading
import time

import pytest
from devices import NIC, TAP, assert_packets_get_through, checksum
from guest import MIB, wait_until
from marks import long
from memslots import why_mapped
from migration import (assert_stayed, is_running, listen,
                       set_capabilities, set_parameters, status)
from postcopy import (PREEMPT, RAM, STRATEGIES, Wire, arrived, assert_incoming,
                      assert_over, be_able, begin, complete, finish, hurry,
                      info, is_incoming, move, paused, recover, restart, same,
                      under_way, wait_for_source)
from stream import beyond, never, once, twice, urgent

on_gmem = pytest.mark.kernel('gmem')
by_strategy = pytest.mark.parametrize('strategy', STRATEGIES)
by_userfault = pytest.mark.parametrize('strategy', [
    'userfault', long('mapped')])
# What auto is
AUTO = 'userfault'
NEEDY = ['postcopy-ram', 'postcopy-preempt', 'postcopy-blocktime']


def refusal(guest, *names):
    with pytest.raises(Exception) as refused:
        set_capabilities(names, True, guest)
    return str(refused.value)


@pytest.mark.kernel('stock')
@pytest.mark.parametrize('names', [
    NEEDY[:1], NEEDY[:2], NEEDY[2:]], ids='+'.join)
def test_a_destination_refuses_what_its_kernel_cannot_do(traveller, names):
    destination = traveller.start(incoming=True)
    said = refusal(destination, *names)
    assert f"memory backend 'pc.ram': {names[0]}: this kernel has no " \
        'userfaultfd for missing pages of a guest_memfd, uffd-missing' in said
    assert info(destination).get('strategy') is None


@pytest.mark.kernel('stock')
def test_a_destination_refuses_when_it_is_too_late_to_ask(traveller):
    """The capability is set before there is memory; the source goes on."""
    source = traveller.be()
    destination = traveller.start('-global', 'migration.x-postcopy-ram=on',
                                  incoming=True)
    set_capabilities(RAM, True, source)
    source.cmd('migrate', uri=listen(destination))
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert "memory backend 'pc.ram': postcopy-ram: this kernel has no" in said
    wait_until(lambda: status(source) == 'failed')
    set_capabilities(RAM, False, source)
    assert 'is up to the kernel of the destination' in source.log()
    traveller.stays()


@pytest.mark.kernel('stock')
def test_a_source_needs_nothing_for_it(traveller):
    source, destination = traveller.be(), traveller.start(
        incoming=True, memory='memfd')
    move(source, destination)
    traveller.guest, traveller.where = destination, {'memory': 'memfd'}


@on_gmem
@pytest.mark.parametrize('capabilities', [
    long(RAM), PREEMPT, long([*RAM, 'release-ram'])],
    ids=['', 'preempt', 'release-ram'])
@pytest.mark.parametrize('way', [
    ['memfd', 'by-userfault', 'by-mapped', 'memfd'],
    long(['memfd', 'by-mapped', 'anonymous', 'by-userfault'])],
    ids='-'.join)
def test_it_moves(traveller, way, capabilities):
    source = traveller.be(memory=way[0])
    for memory in way[1:]:
        destination = traveller.start(incoming=True, memory=memory)
        move(source, destination, capabilities=capabilities)
        set_capabilities(capabilities, False, source, destination)
        if 'release-ram' in capabilities and is_incoming(source):
            block = source.block()
            assert block['allocated-bytes'] < block['size'] / 2
        source = destination
    traveller.guest, traveller.where = source, {'memory': way[-1]}


@pytest.fixture
def pair(traveller):
    """pair(strategy): the guest where it is, and where it can go; there the
    next test finds it if it has arrived"""
    went = []

    def start(strategy):
        source = traveller.guest or traveller.be()
        traveller.guest = None
        went.append(traveller.start(incoming=True, memory=f'by-{strategy}'))
        return source, went[-1]
    yield start
    for destination in went:
        if arrived(destination):
            traveller.guest = destination
            traveller.where = {'memory': destination.memory}


@on_gmem
def test_the_strategy_is_shown(traveller):
    destination = traveller.start(incoming=True)
    for policy, strategy in [('mapped', 'mapped'), ('userfault', 'userfault'),
                             ('auto', AUTO)]:
        destination.cmd('qom-set', path='/objects/pc.ram',
                        property='postcopy', value=policy)
        assert info(destination)['policy'] == policy
        assert info(destination)['strategy'] == strategy
        assert f'postcopy: {policy} ({strategy}); 0 exits' in destination.hmp(
            'info guest-memfd')


@on_gmem
@pytest.mark.long
def test_all_that_is_mapped_stays_mapped(pair):
    """slots=mapped needs no bitmap, whatever is asked for"""
    source, destination = pair('userfault')
    destination.cmd('qom-set', path='/objects/pc.ram', property='slots',
                    value='mapped')
    assert info(destination)['strategy'] == 'mapped'
    begin(source, destination, None)
    assert why_mapped(destination.block()) == {'requested'}
    complete(source, destination)


@on_gmem
@by_userfault
def test_slots_come_and_go_meanwhile(pair, strategy):
    source, destination = pair(strategy)
    move(source, destination, restart)


@on_gmem
@pytest.mark.long
@by_userfault
def test_a_user_changes_slots_meanwhile(pair, strategy):
    def change(_source, destination):
        for slots in 'mapped', 'bound', 'auto':
            destination.cmd('qom-set', path='/objects/pc.ram',
                            property='slots', value=slots)
            why = why_mapped(destination.block())
            assert ('requested' in why) == (slots == 'mapped')
        assert_incoming(destination)
    source, destination = pair(strategy)
    move(source, destination, change)


@on_gmem
@by_userfault
def test_a_guest_that_waits_can_be_stopped(pair, strategy):
    """... by a command that is answered at once, and goes on.  (Not while
    KVM itself waits for a page, to tell the guest of stolen time: that cannot
    be interrupted, whatever the memory.  These pages come first.)"""
    source, destination = pair(strategy)
    wire = Wire(wait_for_source(destination))
    begin(source, destination, wire.uri)
    time.sleep(2)
    wire.stall()
    time.sleep(1)
    before = time.monotonic()
    for _ in range(3):
        destination.cmd('stop')
        destination.cmd('cont')
    assert time.monotonic() - before < 10
    assert_incoming(destination)
    wire.go_on()
    finish(source, destination)
    wire.cut()


SEEDS = [0, *(long(seed) for seed in range(1, 10))]


@on_gmem
@by_userfault
@pytest.mark.parametrize('preempt', [long(False), True],
                         ids=['', 'preempt'])
@pytest.mark.parametrize('seed', SEEDS)
def test_the_network_drops_and_comes_back(pair, strategy, preempt, seed):
    after = random.Random(seed).uniform(0, 4)
    capabilities = PREEMPT if preempt else RAM
    source, destination = pair(strategy)
    wire = Wire(wait_for_source(destination, capabilities))
    begin(source, destination, wire.uri, capabilities=capabilities)
    time.sleep(after)
    wire.cut()
    paused(source, destination)
    assert_incoming(destination)
    time.sleep(5 if seed else 1)
    recover(source, destination)
    finish(source, destination)


def kill(guest):
    os.kill(guest.get_pid(), signal.SIGKILL)
    guest.end()


@on_gmem
@by_userfault
def test_the_source_is_killed(traveller, pair, strategy):
    """The guest waits for what nobody has any more, and never reads zeros"""
    source, destination = pair(strategy)
    begin(source, destination, None)
    kill(source)
    paused(destination)
    other = traveller.start()
    destination.cmd('migrate-recover', uri='tcp:127.0.0.1:0')
    address = destination.cmd('query-migrate')['socket-address'][0]
    with pytest.raises(Exception, match='no paused migration'):
        other.cmd('migrate', uri=f'tcp:127.0.0.1:{address["port"]}',
                  resume=True)
    assert status(destination) == 'postcopy-paused'
    assert_incoming(destination)
    assert not re.search(destination.fatal, destination.console())


@on_gmem
def test_the_destination_is_killed(pair):
    source, destination = pair('userfault')
    begin(source, destination, None)
    kill(destination)
    paused(source)
    assert not is_running(source)
    with pytest.raises(Exception, match='cannot cancel'):
        source.cmd('migrate_cancel')


@on_gmem
@by_userfault
@pytest.mark.parametrize('error', ['ENOMEM', long('EAGAIN'), long('EEXIST')])
def test_a_page_cannot_be_placed(pair, fail, strategy, error):
    """Postcopy is paused then, and goes on when it is recovered"""
    source, destination = pair(strategy)
    begin(source, destination, None)
    fail(f'copy-{error} 3 1')
    hurry(source)
    paused(destination, source)
    assert_incoming(destination)
    recover(source, destination)
    finish(source, destination)


@on_gmem
@pytest.mark.long
@by_userfault
@pytest.mark.parametrize('change', [twice, long(beyond)])
def test_a_source_sends_nonsense(pair, strategy, change):
    """Postcopy is paused then, too"""
    source, destination = pair(strategy)
    running = threading.Event()
    wire = Wire(wait_for_source(destination), once(change, running))
    begin(source, destination, wire.uri)
    running.set()
    paused(destination, source)
    assert_incoming(destination)
    wire.cut()
    recover(source, destination)
    finish(source, destination)


@on_gmem
@by_userfault
def test_a_source_keeps_a_page_for_itself(pair, strategy):
    """... and says that it is done: the guest does not run on zeros"""
    source, destination = pair(strategy)
    running = threading.Event()
    wire = Wire(wait_for_source(destination), once(never, running))
    begin(source, destination, wire.uri)
    running.set()
    hurry(source)
    wait_until(lambda: destination.cmd('query-status')['status']
               == 'internal-error')
    assert "memory backend 'pc.ram': postcopy is over, and 4096 bytes of it " \
        'are missing: this VM can never run again' in destination.log()
    destination.cmd('system_reset')
    wait_until(lambda: destination.cmd('query-status')['status']
               == 'prelaunch')
    with pytest.raises(Exception, match='4096 bytes of it are missing'):
        destination.cmd('cont')
    assert not re.search(destination.fatal, destination.console())
    wire.cut()


@on_gmem
@pytest.mark.long
@by_strategy
def test_urgent_pages_do_not_come(pair, strategy):
    """The end of postcopy does not wait for them for ever"""
    source, destination = pair(strategy)
    running = threading.Event()
    wire = Wire(wait_for_source(destination, PREEMPT), same, urgent(
        lambda *page: b'' if running.is_set() else page[-1]))
    begin(source, destination, wire.uri, capabilities=PREEMPT)
    running.set()
    hurry(source)
    wait_until(lambda: destination.cmd('query-status')['status']
               == 'internal-error', 120)
    assert re.search('postcopy is over, and [0-9]+ bytes of it are missing',
                     destination.log())
    wire.cut()


@on_gmem
@pytest.mark.long
@by_strategy
def test_devices_reach_missing_pages(boot, disk, strategy):
    """QEMU's virtio-blk, and vhost-net in the kernel"""
    def options(tap):
        return ['-blockdev', f'file,node-name=disk,filename={disk},'
                'read-only=on', '-device', 'virtio-blk-pci,drive=disk',
                '-netdev', TAP.replace('gmem0', tap) + 'on', '-device', NIC]

    source, destination = (
        boot(*options(tap), machine='q35,guest-memfd=on,'
             f'guest-memfd-postcopy={strategy}', mem='192M', cpus=2, fill=50,
             then='serve', incoming=tap == 'gmem0')
        for tap in ('gmem1', 'gmem0'))
    destination.memory = f'by-{strategy}'
    source.wait_verified()
    source.wait_serving()
    begin(source, destination, None)
    destination.connect_control()
    assert destination.do('sum /dev/vda direct') == checksum(disk.read_bytes())
    assert_incoming(destination)
    hurry(source)
    assert_packets_get_through(destination, 1)
    wait_until(lambda: status(destination) == 'completed')
    assert_over(destination)
    assert info(destination)['requests'] > 0


@on_gmem
@pytest.mark.long
@by_strategy
def test_several_memories_come_in(boot, strategy):
    """... by different strategies, and one is no guest_memfd"""
    other, = set(STRATEGIES) - {strategy}
    kinds = [f'guest-memfd,postcopy={strategy}', 'memfd,guest-memfd=off',
             f'guest-memfd,postcopy={other}']
    options = ' '.join(f'-object memory-backend-{kind},size=64M,id=m{n} '
                       f'-numa node,nodeid={n},memdev=m{n}'
                       for n, kind in enumerate(kinds))
    source, destination = (
        boot(*options.split(), machine='q35,guest-memfd=on',
             mem='192M', cpus=2, fill=25, then='rewrite', incoming=incoming)
        for incoming in (False, True))
    destination.memory = f'by-{strategy}'
    source.wait_verified()
    begin(source, destination, None)
    blocks = destination.blocks()
    assert [block['postcopy']['strategy'] for block in blocks] == [strategy,
                                                                   other]
    hurry(source)
    wait_until(lambda: status(destination) == 'completed')
    for block in destination.blocks():
        assert block['postcopy']['missing-bytes'] == 0
        assert block['postcopy']['placed'] > 0
        assert why_mapped(block) == {None}
    destination.wait_pass()


@on_gmem
@pytest.mark.long
def test_a_bitmap_is_refused(pair, fail):
    """... and the memory waits for its pages in mapped slots instead"""
    source, destination = pair('userfault')
    uri = wait_for_source(destination)
    fail('bound 0 1')
    begin(source, destination, uri)
    assert why_mapped(destination.block()) == {'postcopy'}
    assert 'they are mapped until postcopy is over' in destination.log()
    complete(source, destination)
    assert why_mapped(destination.block()) == {None}


@on_gmem
@pytest.mark.parametrize('what,said', [
    ('register', 'userfault register'),
    long('any', "memory backend 'pc.ram': KVM refuses a ")])
def test_listening_fails(traveller, pair, fail, monkeypatch, what, said):
    """The source, which has not let go of the guest, runs on, bound again"""
    with monkeypatch.context() as of_source:
        of_source.delenv('GMEM_FAIL')
        traveller.guest = traveller.guest or traveller.be()
    source, destination = pair('userfault')
    uri = wait_for_source(destination)
    be_able(source, RAM)
    set_parameters({'max-bandwidth': 16 * MIB, 'downtime-limit': 1}, source)
    source.cmd('migrate', uri=uri)
    under_way(source)
    fail(f'{what} 0 1000')
    source.cmd('migrate-start-postcopy')
    exit_status, log = destination.wait_ended()
    assert exit_status == 1 and said in log
    wait_until(lambda: status(source) == 'failed')
    if not is_running(source):
        source.cmd('cont')
    assert_stayed(source)


@on_gmem
@pytest.mark.long
@by_userfault
def test_memory_is_plugged_meanwhile(boot, strategy):
    """It is none of what comes in"""
    source, destination = (
        boot(machine=f'q35,guest-memfd=on,guest-memfd-postcopy={strategy}',
             mem='128M,slots=2,maxmem=1G', cpus=2, fill=25, then='rewrite',
             append='memhp_default_state=online_movable', incoming=incoming)
        for incoming in (False, True))
    destination.memory = f'by-{strategy}'
    source.wait_verified()
    begin(source, destination, None)
    destination.cmd('object-add', {'qom-type': 'memory-backend-guest-memfd',
                                   'id': 'm1', 'size': 64 * MIB})
    destination.cmd('device_add', driver='pc-dimm', id='dimm', memdev='m1')
    hurry(source)
    wait_until(lambda: status(destination) == 'completed')
    first, second = sorted(destination.blocks(), key=lambda b: -b['size'])
    assert not first['postcopy']['incoming']
    assert second['postcopy']['placed'] == 0
    assert why_mapped(first) == why_mapped(second) == {None}
    destination.wait_pass()


@on_gmem
@pytest.mark.long
@by_userfault
def test_virtio_mem_moves(boot, strategy):
    """What it has plugged and allocated comes in as the rest does"""
    options = ['-object', 'memory-backend-guest-memfd,id=vm,size=256M,'
               f'postcopy={strategy}', '-device',
               'virtio-mem-pci,id=more,memdev=vm,requested-size=64M,'
               'prealloc=on']
    source, destination = (
        boot(*options, machine='q35,guest-memfd=on,'
             f'guest-memfd-postcopy={strategy}', mem='128M,maxmem=1G', cpus=2,
             fill=25, then='rewrite',
             append='memhp_default_state=online_movable', incoming=incoming)
        for incoming in (False, True))
    destination.memory = f'by-{strategy}'
    source.wait_verified()
    wait_until(lambda: source.cmd('qom-get', path='/machine/peripheral/more',
                                  property='size') == 64 * MIB)
    begin(source, destination, None)
    hurry(source)
    wait_until(lambda: status(destination) == 'completed')
    for block in destination.blocks():
        assert block['postcopy']['missing-bytes'] == 0
        assert why_mapped(block) == {None}
    destination.wait_pass()


@on_gmem
@pytest.mark.long
@by_userfault
def test_prealloc_waits(pair, strategy):
    """A page that is allocated would be zero, and could not come in"""
    source, destination = pair(strategy)
    begin(source, destination, None)
    with pytest.raises(Exception, match='its pages are coming in'):
        destination.cmd('qom-set', path='/objects/pc.ram',
                        property='prealloc', value=True)
    with pytest.raises(Exception, match='are coming in by it'):
        set_capabilities(RAM, False, destination)
    finish(source, destination)


@on_gmem
@pytest.mark.long
@by_strategy
def test_blocktime_is_that_of_vcpus(pair, strategy):
    source, destination = pair(strategy)
    set_capabilities(['postcopy-blocktime'], True, destination)
    begin(source, destination, None)
    finish(source, destination)
    told = destination.cmd('query-migrate')
    assert sum(told['postcopy-vcpu-blocktime']) > 0
    assert sum(told['postcopy-latency-dist']) > 0
