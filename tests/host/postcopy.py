# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move by postcopy: what these suites share."""
import select
import socket
import threading

from guest import MIB, wait_until
from memslots import HOLES, why_mapped
from migration import (MEMORY, assert_slots, is_running, listen,
                       set_capabilities, set_parameters, status)

STRATEGIES = ['userfault', 'mapped']
RAM = ['postcopy-ram']
PREEMPT = ['postcopy-ram', 'postcopy-preempt']
# What still comes while a test looks at it, on however slow a machine
SLOW = MIB // 4

for strategy in STRATEGIES:
    MEMORY[f'by-{strategy}'] = (
        f'q35,guest-memfd=on,guest-memfd-postcopy={strategy}', ())


def info(guest):
    """Postcopy into its only block"""
    return guest.block()['postcopy']


def assert_incoming(guest):
    """Pages are coming in, and the memslots are what the strategy wants"""
    block = guest.block()
    postcopy = block['postcopy']
    assert postcopy['incoming'] and postcopy['missing-bytes'] > 0
    assert guest.memory == f'by-{postcopy["strategy"]}'
    if postcopy['strategy'] == 'mapped':
        assert why_mapped(block) == {'postcopy'}
        assert block['bound-bytes'] == 0
    else:
        assert 'postcopy' not in why_mapped(block)
        assert block['bound-bytes'] > block['size'] - HOLES


def assert_over(guest):
    """All pages have come in, and the memslots are what they are without"""
    postcopy = info(guest)
    assert not postcopy['incoming'] and postcopy['missing-bytes'] == 0
    assert postcopy['placed'] > 0
    if postcopy['strategy'] == 'userfault':
        assert postcopy['exits'] > 0
    assert_slots(guest)


def is_incoming(guest):
    return guest.memory.startswith('by-')


def be_able(guest, capabilities):
    set_capabilities(PREEMPT, False, guest)
    set_capabilities(capabilities, True, guest)


def wait_for_source(destination, capabilities=tuple(RAM)):
    """Where the source is to send to"""
    be_able(destination, capabilities)
    return listen(destination)


def under_way(source):
    """The destination has been told that postcopy may come"""
    wait_until(lambda: source.cmd('query-migrate').get('ram', {}).get(
        'transferred', 0) > MIB)


def begin(source, destination, uri, capabilities=RAM):
    """Lets the guest run at the destination while nearly all of its memory is
    at the source"""
    if not uri:
        uri = wait_for_source(destination, capabilities)
    be_able(source, capabilities)
    set_parameters({'max-bandwidth': 16 * MIB, 'downtime-limit': 1,
                    'max-postcopy-bandwidth': SLOW}, source)
    source.cmd('migrate', uri=uri)
    under_way(source)
    source.cmd('migrate-start-postcopy')
    wait_until(lambda: status(source).startswith('postcopy-'))
    wait_until(lambda: is_running(destination))


def hurry(source):
    set_parameters({'max-postcopy-bandwidth': 0}, source)


def complete(source, destination):
    """All of the guest is at the destination, and as it was"""
    hurry(source)
    for guest in source, destination:
        wait_until(lambda guest=guest: status(guest) == 'completed', 120)
    destination.wait_pass()
    destination.all_there = True


def arrived(destination):
    return getattr(destination, 'all_there', False)


def finish(source, destination):
    complete(source, destination)
    if is_incoming(destination):
        assert_over(destination)


def move(source, destination, during=None, capabilities=RAM):
    begin(source, destination, None, capabilities)
    if is_incoming(destination):
        assert_incoming(destination)
    if during:
        during(source, destination)
    finish(source, destination)


def slot_changes(guest):
    counters = guest.block()['counters']
    return counters['binds'] + counters['maps']


def restart(_source, destination):
    """The firmware of a guest that is reset changes PAM and SMRAM.  (It gets
    to user space later, maybe when all is there.)"""
    before = slot_changes(destination)
    destination.cmd('system_reset')
    wait_until(lambda: slot_changes(destination) > before + 4)
    assert_incoming(destination)


def paused(*guests):
    for guest in guests:
        wait_until(lambda guest=guest: status(guest) == 'postcopy-paused')


def recover(source, destination, uri='tcp:127.0.0.1:0', wire=None):
    """Over a new connection, or one through wire(), which is told its end"""
    destination.cmd('migrate-recover', uri=uri)
    address = destination.cmd('query-migrate')['socket-address'][0]
    to = f'tcp:127.0.0.1:{address["port"]}'
    source.cmd('migrate', uri=wire(to) if wire else to, resume=True)
    wait_until(lambda: status(source) in ('postcopy-active', 'completed'))


def same(data):
    return data


class Wire:
    """Connections to where listen() says, both ways; they can be cut, or made
    to stall: then nothing more gets through, and they stay open.  edits: what
    becomes of data sent over the first, the second ..."""

    def __init__(self, uri, *edits):
        self.server = socket.create_server(('127.0.0.1', 0))
        self.server.settimeout(0.1)
        self.uri = f'tcp:127.0.0.1:{self.server.getsockname()[1]}'
        self.to = int(uri.split(':')[2])
        self.edits = list(edits)
        self.running, self.flowing = threading.Event(), threading.Event()
        self.ended = threading.Event()
        self.flowing.set()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        ends = {}
        with self.server:
            while not self.ended.is_set():
                self.accept(ends)
                if self.flowing.is_set() and ends:
                    self.carry(ends)
                else:
                    self.ended.wait(0.02)
        for end in ends:
            end.close()

    def accept(self, ends):
        if not select.select([self.server], [], [], 0)[0]:
            return
        near = self.server.accept()[0]
        far = socket.create_connection(('127.0.0.1', self.to))
        edit = self.edits.pop(0) if self.edits else same
        ends[near], ends[far] = (far, edit), (near, same)

    def carry(self, ends):
        for end in select.select(list(ends), [], [], 0.02)[0]:
            if end not in ends:
                continue
            other, edit = ends[end]
            try:
                data = end.recv(1 << 16)
                other.sendall(edit(data))
            except OSError:
                data = b''
            if not data:
                for closed in end, other:
                    closed.close()
                    ends.pop(closed, None)

    def stall(self):
        self.flowing.clear()

    def go_on(self):
        self.flowing.set()

    def cut(self):
        self.ended.set()
        self.thread.join()
