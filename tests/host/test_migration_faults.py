# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that fail: the source runs on, bound again, its memory intact,
and both sides say what happened."""
import os
import re
import signal
import socket
import threading

import pytest
from guest import MIB
from migration import (assert_arrived, hold_back, in_flight, let_go, listen,
                       sent_over_and_over, set_capabilities, status)
from test_faults import SHIM
from test_slots import wait_until, why_mapped

SLOW = 8 * MIB
PAUSE = ['pause-before-switchover']


def sent(part):
    """Waits until such a part of the memory is sent for the first time"""
    def enough(source):
        ram = in_flight(source).get('ram', {})
        total = ram.get('total', 0)
        return total - ram.get('remaining', 0) >= part * total
    return lambda source: wait_until(lambda: enough(source))


def switching_over(source):
    """Waits until the source has stopped the guest, and the rest is to go"""
    let_go(source)
    wait_until(lambda: in_flight(source)['status'] == 'pre-switchover')


POINTS = [pytest.param(wait, id=name, marks=marks) for name, wait, marks in [
    ('at-once', lambda source: None, pytest.mark.long),
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
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert re.search('load of migration failed|Unable to read', said)


class StallingLine:
    """A connection to where listen() says that takes so many bytes and then
    no more, and stays open"""

    def __init__(self, uri, size):
        self.server = socket.create_server(('127.0.0.1', 0))
        self.uri = f'tcp:127.0.0.1:{self.server.getsockname()[1]}'
        self.stalled, self.closed = threading.Event(), threading.Event()
        self.to, self.size = int(uri.split(':')[2]), size
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    def carry(self):
        source, _ = self.server.accept()
        destination = socket.create_connection(('127.0.0.1', self.to))
        with self.server, source, destination:
            while self.size > 0:
                data = source.recv(min(self.size, 1 << 16))
                destination.sendall(data)
                self.size -= len(data)
            self.stalled.set()
            self.closed.wait()

    def close(self):
        self.closed.set()
        self.thread.join()


@pytest.mark.parametrize('guest_is', ['running', 'finish-migrate'])
def test_a_connection_stalls(traveller, guest_is):
    source, destination = traveller.be(), traveller.start(incoming=True)
    line = StallingLine(listen(destination), 4 * MIB)
    hold_back(source) if guest_is == 'running' else let_go(source)
    source.cmd('migrate', uri=line.uri)
    assert line.stalled.wait(60)
    wait_until(lambda: source.cmd('query-status')['status'] == guest_is)
    assert why_mapped(source.block()) == {'dirty-log'}
    if guest_is == 'running':
        source.wait_pass()
    assert status(source) not in ('completed', 'failed')
    source.cmd('migrate_cancel')
    wait_until(lambda: status(source) == 'cancelled')
    traveller.stays()
    line.close()
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert 'load of migration failed' in said


def test_a_destination_with_less_memory(traveller):
    source = traveller.be()
    destination = traveller.start(incoming=True, mem='96M')
    hold_back(source)
    source.cmd('migrate', uri=listen(destination))
    assert wait_failed(source)
    traveller.stays()
    exit_status, said = destination.wait_ended()
    assert exit_status == 1
    assert 'Size mismatch: pc.ram' in said


@pytest.mark.parametrize('memory', ['mapped', 'bound'])
def test_a_destination_keeps_its_own_slot_policy(traveller, memory):
    traveller.go(memory=memory)
    traveller.go()


@pytest.mark.parametrize('env,accel,said', [
    ({'LD_PRELOAD': SHIM, 'GMEM_HIDE': '1'}, 'kvm',
     "memory backend 'pc.ram': this kernel cannot map and share a "
     'guest_memfd of this VM'),
    ({}, 'tcg', "memory backend 'pc.ram': guest_memfd needs KVM")],
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
