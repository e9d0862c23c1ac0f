# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move from one QEMU to another: what these suites share."""
import os
import socket

from guest import BOARD, GMEM, RAM, Guest, GuestError, wait_until
from memslots import assert_bound, assert_logged, assert_mapped, logged

MEM = '128M'
RING = 'kvm,dirty-ring-size=4096'
# What RAM can be.  The RAM block has the same name everywhere.
MEMORY = {
    'gmem': (GMEM, ()),
    'bound': (f'{GMEM},guest-memfd-slots=bound', ()),
    'mapped': (f'{GMEM},guest-memfd-slots=mapped', ()),
    'mapped-log': (f'{GMEM},guest-memfd-dirty-log=mapped', ()),
    'no-direct-map': (f'{GMEM},guest-memfd-direct-map=off', ()),
    'memfd': (f'{BOARD},memory-backend={RAM}',
              ('-object', f'memory-backend-memfd,id={RAM},size={MEM}')),
    'anonymous': (BOARD, ()),
}
SETTLED = 'completed', 'failed', 'cancelled'


def set_capabilities(names, state, *guests):
    for guest in guests:
        guest.cmd('migrate-set-capabilities', capabilities=[
            {'capability': name, 'state': state} for name in names])


def set_parameters(parameters, *guests):
    for guest in guests:
        guest.cmd('migrate-set-parameters', **parameters)


def status(guest):
    return guest.cmd('query-migrate').get('status')


def is_settled(guest):
    return status(guest) in SETTLED


def is_running(guest):
    return guest.cmd('query-status')['running']


def give_fd(guest, name, file):
    guest.send_fd_scm(file.fileno())
    guest.cmd('getfd', fdname=name)
    file.close()


def uris(transport, source, destination):
    """(where the source sends to, where the destination receives from);
    of tcp the former is known only when the destination listens"""
    path = os.path.join(destination.temp_dir, 'channel')
    if transport == 'tcp':
        return None, 'tcp:127.0.0.1:0'
    if transport == 'fd':
        for guest, end in zip((source, destination), socket.socketpair()):
            give_fd(guest, 'channel', end)
        return 'fd:channel', 'fd:channel'
    if transport == 'exec':
        os.mkfifo(path)
        return f'exec:cat > {path}', f'exec:cat {path}'
    return f'{transport}:{path}', f'{transport}:{path}'


def listen(guest, uri='tcp:127.0.0.1:0'):
    """Lets an incoming guest wait for the source; a URI of tcp that it can
    be reached at"""
    guest.cmd('migrate-incoming', uri=uri)
    if not uri.startswith('tcp:'):
        return uri
    address = guest.cmd('query-migrate')['socket-address'][0]
    return f'tcp:127.0.0.1:{address["port"]}'


def hold_back(source, bandwidth=32 << 20):
    """A migration that starts now goes on until let_go(), or until the guest
    writes next to nothing.  (With no downtime at all QEMU does not ask what
    was written, and ends after one pass.)"""
    set_parameters({'downtime-limit': 1, 'max-bandwidth': bandwidth}, source)


def let_go(source):
    set_parameters({'downtime-limit': 60000, 'max-bandwidth': 0}, source)


def logging_begins(source):
    wait_until(lambda: logged(source.block()) == {True})


def in_flight(source):
    """What query-migrate says of a migration that must not be over yet"""
    info = source.cmd('query-migrate')
    if info.get('status') in SETTLED:
        raise GuestError(f'the migration is over too soon: {info}')
    return info


def sent_over_and_over(source):
    """All memory was sent, and that which the guest rewrote since, twice"""
    wait_until(lambda: in_flight(source).get('ram', {}).get(
        'dirty-sync-count', 0) > 2, 300)


def wait_completed(guest):
    wait_until(lambda: is_settled(guest), 120)
    info = guest.cmd('query-migrate')
    assert info['status'] == 'completed', info
    return info


def assert_slots(guest):
    """They are what the guest was given, and no dirty pages are logged"""
    if guest.memory == 'mapped':
        assert_mapped(guest.block(), 'requested')
    elif guest.memory not in ('memfd', 'anonymous'):
        assert_bound(guest.block())


def assert_arrived(destination):
    wait_completed(destination)
    wait_until(lambda: is_running(destination))
    assert_slots(destination)
    destination.wait_pass()


def assert_stayed(source):
    """A guest that was to move and did not runs on, bound again"""
    wait_until(lambda: is_running(source))
    wait_until(lambda: True not in logged(*source.blocks()))
    assert_slots(source)
    source.wait_pass()


def pauses(guest):
    """How often its processors were held to change slots"""
    return sum(block['counters']['pauses'] for block in guest.blocks())


def migrate(source, destination, transport='unix', during=sent_over_and_over,
            after=None):
    """Precopy under a running guest, with what holds for all of them checked
    on the way.  during(source) is called before it may end, after(source)
    then.  Returns what query-migrate says of it."""
    assert_slots(destination)
    to, incoming = uris(transport, source, destination)
    if transport != 'file':
        address = listen(destination, incoming)
        to = to or address
    hold_back(source)
    source.cmd('migrate', uri=to)
    during(source)
    if source.memory in ('gmem', 'bound', 'no-direct-map'):
        assert_logged(source.block())
    elif source.memory == 'mapped-log':
        assert_logged(source.block(), bound=False)
    let_go(source)
    if after:
        after(source)
    info = wait_completed(source)
    if transport == 'file':
        listen(destination, incoming)
    assert_arrived(destination)
    return info


class Traveller:
    """A guest that moves on from QEMU to QEMU, so that a case costs a move
    and not a boot.  Its two processors rewrite a part of its memory and read
    it back, for ever."""

    def __init__(self):
        self.guest = None
        self.where = None
        self.started = []

    def start(self, *args, memory='gmem', mem=MEM, **kwargs):
        """A QEMU it can be in, or an incoming one it can go to"""
        machine, backend = MEMORY[memory]
        guest = Guest(*backend, *args, machine=machine, mem=mem, cpus=2,
                      fill=25, then='rewrite', **kwargs)
        guest.memory = memory
        self.started.append(guest)
        return guest

    def be(self, **where):
        """The guest, in a QEMU that start(**where) starts"""
        if self.guest and self.where != where:
            self.go(**where)
        elif not self.guest:
            self.guest = self.start(**where)
            self.where = where
            self.guest.wait_verified()
        return self.guest

    def go(self, transport='unix', capabilities=(), parameters=None,
           during=sent_over_and_over, after=None, prepare=None, **where):
        """Moves on; what query-migrate says of the way.  prepare(guest,
        endpoint) is called for both QEMUs first."""
        source = self.guest or self.be()
        self.guest = None
        destination = self.start(incoming=True, **where)
        if prepare:
            prepare(source, 'client')
            prepare(destination, 'server')
        parameters = parameters or {}
        usual = destination.cmd('query-migrate-parameters')
        set_parameters(parameters, source, destination)
        set_capabilities(capabilities, True, source, destination)
        info = migrate(source, destination, transport, during, after)
        set_capabilities(capabilities, False, destination)
        set_parameters({name: usual[name] for name in parameters},
                       destination)
        self.guest, self.where = destination, where
        return info

    def stays(self):
        """The guest, after a migration that was not to be"""
        guest, self.guest = self.guest, None
        assert_stayed(guest)
        self.guest = guest

    def end(self, keep=None):
        """Ends every QEMU but one, and says what each said"""
        for guest in self.started:
            if guest is not keep:
                guest.end()
            print(guest.report())
        self.started = [keep] if keep else []
