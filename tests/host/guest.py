# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of the emulated host: QEMU with KVM, its console, its QMP."""
import asyncio
import os
import re
import sys
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
sys.path.insert(0, os.path.join(TOP, 'upstream/python'))

# pylint: disable=wrong-import-position
from console import Console, GuestError  # noqa: E402
from qemu.machine import QEMUMachine  # noqa: E402

MIB = 1 << 20
DISK = 16     # MiB that devices move
QEMU = os.environ.get('GMEM_QEMU',
                      os.path.join(TOP, 'build/qemu-system-x86_64'))


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


class Guest(Console, QEMUMachine):
    """A Linux that verifies its memory (tests/guest), started at once.
    incoming: it is to come by migration; see migration.py"""

    def __init__(self, *args, machine, mem='256M', cpus=1, then='idle',
                 fill=90, accel='kvm', incoming=False, append='', qemu=QEMU,
                 kernel=None):
        Console.__init__(self)
        QEMUMachine.__init__(self, qemu, base_temp_dir='/tmp', qmp_timer=60)
        self.set_machine(machine)
        self._console_path = os.path.join(self.temp_dir, 'console')
        self._last_console = ''
        self._args += [
            '-nodefaults', '-no-user-config', '-accel', accel,
            '-cpu', 'qemu64,-svm', '-m', mem, '-smp', str(cpus),
            '-serial', f'file:{self._console_path}',
            '-kernel', kernel or os.environ['GMEM_KERNEL'],
            '-initrd', os.environ['GMEM_GUEST'],
            '-append', f'console=ttyS0 quiet panic=-1 '
                       f'gmem.then={then} gmem.fill={fill} {append}',
            *(['-incoming', 'defer'] if incoming else []), *args]
        if then == 'serve':
            self._args += ['-chardev', 'socket,id=control,server=on,wait=off,'
                           f'path={self.control_path()}',
                           '-serial', 'chardev:control']
        self.launch()

    def console(self):
        with open(self._console_path, errors='replace') as console:
            return console.read()

    def control_path(self):
        return os.path.join(self.temp_dir, 'control')

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
        self.close_control()
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
