# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the emulated host: QEMU with KVM, its console, its QMP."""
import asyncio
import os
import platform
import re
import socket
import sys
import time

from arches import ARCHES

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
sys.path.insert(0, os.path.join(TOP, 'upstream/python'))

# pylint: disable=wrong-import-position
from qemu.machine import QEMUMachine  # noqa: E402
from qemu.machine.machine import VMLaunchFailure  # noqa: E402

MIB = 1 << 20
DISK = 16     # MiB that devices move
# The build folder of the QEMU that is tested, and of what was built with it
BUILD = os.environ.get('GMEM_BUILD', os.path.join(TOP, 'build'))
ARCH = platform.machine()
QEMU = os.path.join(BUILD, f'qemu-system-{ARCH}')
HERE = ARCHES.get(ARCH, ARCHES['x86_64'])
BOARD, CPU, CONSOLE = HERE.board, HERE.cpu, HERE.console
RAM, RAM_START = HERE.ram, HERE.ram_start
# The board whose RAM is a guest_memfd
GMEM = f'{BOARD},guest-memfd=on'


def missing():
    """Why nothing here can run, or None"""
    if not os.access(QEMU, os.X_OK):
        return f'{QEMU} is not built'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'no /dev/kvm: run this through tests/host/run'
    for name in 'GMEM_KERNEL', 'GMEM_GUEST':
        if name not in os.environ:
            return f'{name} is not set: run this through tests/host/run'
    return None


def wait_until(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)


def file_pages_mib(node):
    """Page-cache memory of a host node: a guest_memfd's pages count there"""
    with open(f'/sys/devices/system/node/node{node}/meminfo') as meminfo:
        return int(re.search(r'FilePages: *(\d+) kB', meminfo.read())[1]) >> 10


def host_uses_mib():
    """Page-cache memory of all nodes"""
    nodes = os.listdir('/sys/devices/system/node')
    return sum(file_pages_mib(name[4:]) for name in nodes
               if re.fullmatch(r'node\d+', name))


class GuestError(Exception):
    """The guest said it failed, or did not say what was awaited."""


class Guest(QEMUMachine):
    """A Linux that verifies its memory (tests/guest), started at once.
    incoming: it is to come by migration; see migration.py"""

    def __init__(self, *args, machine, mem='256M', cpus=1, then='idle',
                 fill=90, accel='kvm', incoming=False, append='', qemu=QEMU,
                 kernel=None):
        super().__init__(qemu, base_temp_dir='/tmp', qmp_timer=60)
        self.set_machine(machine)
        self._console_path = os.path.join(self.temp_dir, 'console')
        self._last_console = ''
        self._whereabouts = ''
        self.fatal = 'gmem-guest: (CORRUPT|FAILED)|Kernel panic'
        self._seen = 0
        self._control = None
        self._args += [
            '-nodefaults', '-no-user-config', '-accel', accel,
            '-cpu', CPU, '-m', mem, '-smp', str(cpus),
            '-serial', f'file:{self._console_path}',
            '-kernel', kernel or os.environ['GMEM_KERNEL'],
            '-initrd', os.environ['GMEM_GUEST'],
            '-append', f'console={CONSOLE} quiet panic=-1 '
                       f'gmem.then={then} gmem.fill={fill} {append}',
            *(['-incoming', 'defer'] if incoming else []), *args]
        if then == 'serve':
            self._args += ['-chardev', 'socket,id=control,server=on,wait=off,'
                           f'path={self._control_path()}',
                           '-serial', 'chardev:control']
        self.launch()

    def console(self):
        with open(self._console_path, errors='replace') as console:
            return console.read()

    def wait_for(self, pattern, timeout=180):
        """The next match of pattern on the console, past the last one."""
        end = time.monotonic() + timeout
        while True:
            running = self.is_running()
            text = self.console()
            match = re.compile(pattern).search(text, self._seen)
            if match:
                self._seen = match.end()
                return match
            if re.search(self.fatal, text):
                raise GuestError('the guest failed')
            if not running:
                raise GuestError(f'QEMU ended with {self.exitcode()}')
            if time.monotonic() > end:
                self._note_where_it_is()
                raise GuestError(f"no '{pattern}' in {timeout} s after "
                                 f"'{text[self._seen:].strip()[-80:]}'")
            time.sleep(0.05)

    def _control_path(self):
        return os.path.join(self.temp_dir, 'control')

    def wait_serving(self):
        """A guest with then='serve' can be told what to do, from now on."""
        self.wait_for('gmem-guest: serving')
        self.connect_control()

    def connect_control(self):
        """The same of a guest that was told so before it came here"""
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(self._control_path())

    def tell(self, command):
        self._control.sendall(f'{command}\n'.encode())

    def do(self, command, timeout=180):
        """The guest's answer to a command (tests/guest/serve.c)"""
        self.tell(command)
        verb = command.split()[0]
        answer = 'verified' if verb in ('fill', 'verify') else f'{verb}:'
        return self.wait_for(rf'gmem-guest: {answer} *(.*)\n', timeout)[1]

    def wait_pass(self, timeout=180):
        """A guest that loops has read all its memory back, from now"""
        self._seen = len(self.console())
        for _ in range(2):
            self.wait_for(r'pass \d+\n', timeout)

    def wait_verified(self, timeout=180):
        """(verified, whole) memory in MiB, of the next pass that is told"""
        match = self.wait_for(r'verified (\d+) MiB of (\d+) MiB, (\d+) cpus',
                              timeout)
        return int(match[1]), int(match[2])

    def hmp(self, line):
        return self.cmd('human-monitor-command', **{'command-line': line})

    def blocks(self):
        return self.cmd('query-guest-memfd')['blocks']

    def block(self):
        """The only block of a guest that has one backend"""
        blocks = self.blocks()
        assert len(blocks) == 1
        return blocks[0]

    def _note_where_it_is(self):
        """For the report: what the processors of a guest that hangs do"""
        for command in ['info status', 'info registers -a'] * 2:
            self._whereabouts += self.hmp(command)
            time.sleep(0.5)

    def log(self):
        """What QEMU has said up to now"""
        if self._qemu_log_path:
            with open(self._qemu_log_path, errors='replace') as log:
                return log.read()
        return self.get_log() or ''

    def cmd_and_yank(self, command, seconds, **arguments):
        """A command that QEMU answers only after a yank of the migration,
        which it gets so many seconds later"""
        async def both():
            # pylint: disable=protected-access
            qmp = self._qmp._qmp
            answer = asyncio.create_task(qmp.execute(command, arguments))
            await asyncio.sleep(seconds)
            await qmp.execute('yank', {'instances': [{'type': 'migration'}]},
                              oob=True)
            await asyncio.wait_for(answer, 60)
        self._qmp._sync(both(), 120)

    def report(self):
        """For a failed test: what QEMU and the guest had to say"""
        return (f'--- {" ".join(self._qemu_full_args)}\n'
                f'--- QEMU:\n{self.log()}'
                f'--- console:\n{self._last_console}'
                f'--- {self._whereabouts}')

    def end(self):
        if os.path.exists(self._console_path):
            self._last_console = self.console()
        if self._control:
            self._control.close()
        self.shutdown(hard=True)

    def wait_ended(self, timeout=60):
        """QEMU ends by itself: its exit status, and what it said"""
        end = time.monotonic() + timeout
        while self.is_running():
            if time.monotonic() > end:
                raise GuestError(f'QEMU has not ended in {timeout} s')
            time.sleep(0.05)
        self.end()
        return self.exitcode(), self.log()


def refusal(*args, machine, cpu=None):
    """What QEMU says that does not start so"""
    more = ['-cpu', cpu] if cpu else []
    try:
        Guest(*args, *more, machine=machine).end()
    except VMLaunchFailure as failure:
        assert failure.exitcode == 1
        return failure.output
    raise AssertionError('it starts')
