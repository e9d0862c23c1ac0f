# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: virtual machines to measure, and marks between."""
import os
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
OUT = os.path.join(TOP, 'build/bench')
sys.path += [os.path.join(TOP, 'upstream/python'),
             os.path.join(TOP, 'tests/host')]

# pylint: disable=wrong-import-position
from qemu.machine import QEMUMachine  # noqa: E402

BACKENDS = {
    'bound': 'memory-backend-guest-memfd,slots=bound',
    'mapped log': 'memory-backend-guest-memfd,slots=bound,dirty-log=mapped',
    'mapped': 'memory-backend-guest-memfd,slots=mapped',
    'memfd': 'memory-backend-memfd',
}


def mark(number):
    """The plugin notes how many instructions have been executed by now"""
    subprocess.run([f'{OUT}/mark{number}'], check=True)


def wait_until(condition, timeout=120):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            sys.exit('error: waited in vain')
        time.sleep(0.02)


# How the memory of a guest that is logged can be
LOGS = 'mapped log', 'bound', 'memfd'


class Machine(QEMUMachine):
    """Runs a guest of touch.S that stays, or waits for a migration"""

    def __init__(self, kind, *args, guest=None, size='384M'):
        super().__init__(f'{TOP}/build/qemu-system-x86_64',
                         base_temp_dir='/tmp')
        self.set_machine('q35,memory-backend=m0')
        self._touched = os.path.join(self.temp_dir, 'touched')
        self.add_args('-nodefaults', '-no-user-config', '-accel', 'kvm',
                      '-cpu', 'qemu64,-svm', '-m', size,
                      '-object', f'{BACKENDS[kind]},id=m0,size={size},'
                      'reserve=off', '-device', 'isa-debugcon,chardev=touched',
                      '-chardev', f'file,id=touched,path={self._touched}',
                      *args)
        if guest:
            self.add_args('-kernel', f'{OUT}/{guest}')
        self.launch()
        if guest:
            wait_until(lambda: os.path.getsize(self._touched))

    def pauses(self):
        """How often its processors were held to change slots, of all backends
        at once.  (The first time that this is asked, QEMU finds out what the
        kernel can do.)"""
        return max((block['counters']['pauses'] for block in
                    self.cmd('query-guest-memfd')['blocks']), default=0)

    def pages_mapped(self):
        """How many KVM has mapped for it, of 4 KiB"""
        base = '/sys/kernel/debug/kvm'
        folder, = (name for name in os.listdir(base)
                   if name.startswith(f'{self.get_pid()}-'))
        with open(f'{base}/{folder}/pages_4k') as pages:
            return int(pages.read())
