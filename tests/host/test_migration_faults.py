# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that fail: the source runs on, bound again, its memory intact,
and both sides say what happened."""
import os
import re
import select
import signal
import socket
import threading

import pytest
from guest import MIB, RAM, wait_until
from memslots import SHIM, assert_logged
from migration import (assert_arrived, hold_back, in_flight, let_go, listen,
                       sent_over_and_over, set_capabilities, status)

SLOW = 8 * MIB
PAUSE = ['pause-before-switchover']


def connected(source):
    wait_until(lambda: in_flight(source)['status'] == 'active')


def sent(part):
    """Waits until such a part of the memory is sent for the first time"""
    def enough(source):
        ram = in_flight(source).get('ram', {})
        # at first nothing remains because nothing is known to be there
        return 0 < ram.get('remaining', 0) <= (1 - part) * ram['total']
    return lambda source: wait_until(lambda: enough(source))


def switching_over(source):
    """Waits until the source has stopped the guest, and the rest is to go"""
    let_go(source)
    wait_until(lambda: in_flight(source)['status'] == 'pre-switchover')


POINTS = [pytest.param(wait, id=name, marks=marks) for name, wait, marks in [
    ('connected', connected, pytest.mark.long),
    ('part-0.1', sent(0.1), pytest.mark.long),
    ('part-0.2', sent(0.2), pytest.mark.long),
    ('part-0.3', sent(0.3), pytest.mark.long),
    ('part-0.45', sent(0.45), ()),
    ('part-0.6', sent(0.6), pytest.mark.long),
    ('part-0.75', sent(0.75), pytest.mark.long),
    ('part-0.9', sent(0.9), pytest.mark.long),
    ('second-pass', sent_over_and_over, pytest.mark.long),
    ('switch-over', switching_over, ())]]


def kill(guest):
    os.kill(guest.get_pid(), signal.SIGKILL)
    guest.end()


def wait_failed(source):
    """What the source says of its migration"""
    wait_until(lambda: status(source) == 'failed')
    return source.cmd('query-migrate')['error-desc']


def cancel(source):
    source.cmd('migrate_cancel')
    wait_until(lambda: status(source) == 'cancelled')


def wait_broken_off(destination):
    """The destination of a migration that ended in the middle, too"""
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert re.search('load of migration failed|Failed to peek', said)


@pytest.mark.parametrize('wait_point', POINTS)
def test_the_destination_is_killed(traveller, wait_point):
    source, destination = traveller.be(), traveller.start(incoming=True)
    hold_back(source, SLOW)
    set_capabilities(PAUSE, True, source)
    source.cmd('migrate', uri=listen(destination))
    wait_point(source)
    kill(destination)
    if status(source) == 'pre-switchover':
        source.cmd('migrate-continue', state='pre-switchover')
    assert re.search('Broken pipe|Connection reset', wait_failed(source))
    set_capabilities(PAUSE, False, source)
    traveller.stays()


@pytest.fixture(scope='module')
def saved(road, tmp_path_factory):
    """A file with the state of a guest that runs"""
    path = tmp_path_factory.mktemp('saved') / 'state'
    source = road.be()
    let_go(source)
    source.cmd('migrate', uri=f'file:{path}')
    wait_until(lambda: status(source) == 'completed')
    source.cmd('cont')
    road.stays()
    return path


@pytest.mark.parametrize('wait_point', POINTS)
def test_the_source_is_killed(traveller, saved, wait_point):
    source = traveller.start(incoming=True)
    listen(source, f'file:{saved}')
    assert_arrived(source)
    destination = traveller.start(incoming=True)
    hold_back(source, SLOW)
    set_capabilities(PAUSE, True, source)
    source.cmd('migrate', uri=listen(destination))
    wait_point(source)
    kill(source)
    wait_broken_off(destination)


@pytest.mark.long
def test_it_is_cancelled_twenty_times_and_goes_then(traveller):
    source = traveller.be()
    for nth in range(20):
        destination = traveller.start(incoming=True)
        hold_back(source)
        source.cmd('migrate', uri=listen(destination))
        sent(nth / 20)(source)
        cancel(source)
        traveller.stays()
        wait_broken_off(destination)
    traveller.go()


class Line:
    """A connection to where listen() says, which can be made to stall: it
    takes no more, and stays open"""

    def __init__(self, uri):
        self.server = socket.create_server(('127.0.0.1', 0))
        self.uri = f'tcp:127.0.0.1:{self.server.getsockname()[1]}'
        self.to = int(uri.split(':')[2])
        self.stalled, self.closed = threading.Event(), threading.Event()
        threading.Thread(target=self.carry, daemon=True).start()

    def carry(self):
        source, _ = self.server.accept()
        destination = socket.create_connection(('127.0.0.1', self.to))
        with self.server, source, destination:
            while not self.stalled.is_set():
                if select.select([source], [], [], 0.1)[0]:
                    destination.sendall(source.recv(1 << 16))
            self.closed.wait()

    def stall(self):
        self.stalled.set()

    def close(self):
        self.stalled.set()
        self.closed.set()


@pytest.fixture
def line():
    lines = []

    def start(uri):
        lines.append(Line(uri))
        return lines[-1]
    yield start
    for started in lines:
        started.close()


@pytest.mark.long
def test_a_connection_stalls(traveller, line):
    source, destination = traveller.be(), traveller.start(incoming=True)
    channel = line(listen(destination))
    hold_back(source, SLOW)
    source.cmd('migrate', uri=channel.uri)
    sent(0.3)(source)
    channel.stall()
    source.wait_pass()
    assert_logged(source.block())
    in_flight(source)
    cancel(source)
    traveller.stays()
    channel.close()
    wait_broken_off(destination)


def test_a_connection_stalls_when_the_guest_is_stopped(traveller, line):
    """QEMU waits for the network then, and only hears what is out of band."""
    source, destination = traveller.be(), traveller.start(incoming=True)
    channel = line(listen(destination))
    hold_back(source, SLOW)
    set_capabilities(PAUSE, True, source)
    source.cmd('migrate', uri=channel.uri)
    switching_over(source)
    channel.stall()
    source.cmd_and_yank('migrate-continue', 2, state='pre-switchover')
    assert wait_failed(source)
    set_capabilities(PAUSE, False, source)
    traveller.stays()
    channel.close()
    wait_broken_off(destination)


def test_a_destination_with_less_memory(traveller):
    source = traveller.be()
    destination = traveller.start(incoming=True, mem='96M')
    hold_back(source)
    source.cmd('migrate', uri=listen(destination))
    assert wait_failed(source)
    traveller.stays()
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert f'Size mismatch: {RAM}' in said


@pytest.mark.long
@pytest.mark.parametrize('memory', ['mapped', 'bound'])
def test_a_destination_keeps_its_own_slot_policy(traveller, memory):
    traveller.go(memory=memory)
    traveller.go()


@pytest.mark.parametrize('env,accel,said', [
    ({'LD_PRELOAD': SHIM, 'GMEM_HIDE': 'flags'}, 'kvm',
     f"memory backend '{RAM}': this kernel cannot map and share a "
     'guest_memfd of this VM'),
    ({}, 'tcg', f"memory backend '{RAM}': guest_memfd needs KVM")],
    ids=['of an older kernel', 'without KVM'])
def test_a_destination_that_has_no_guest_memfd(traveller, monkeypatch, env,
                                               accel, said):
    source = traveller.be()
    with monkeypatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with pytest.raises(Exception) as refusal:
            traveller.start(incoming=True, accel=accel)
    assert said in refusal.value.output
    source.cmd('migrate', uri='tcp:127.0.0.1:1')
    assert 'Connection refused' in wait_failed(source)
    traveller.stays()
