# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: QEMU starts a guest of touch.S, also one whose memory
the kernel does not map.

usage: start.py QEMU GUEST ROUNDS

Prints the name of the kind before each; mark 1 comes before QEMU is started,
the guest's own follow.
"""
import sys

from first_touch import GMEM, KINDS, run
from machine import mark

# What a guest without a direct map cannot have, none has
MACHINE = 'q35,smm=off'
CPU = 'qemu64,-svm,-kvmclock'
STARTED = {'memfd': KINDS['memfd'], 'bound': KINDS['bound'],
           'no direct map': f'{GMEM},direct-map=off'}


def main():
    qemu, guest, rounds = sys.argv[1:]
    for _ in range(int(rounds)):
        for kind, backend in STARTED.items():
            print(kind, flush=True)
            mark(1)
            run(qemu, guest, backend, '-cpu', CPU, machine=MACHINE)


if __name__ == '__main__':
    main()
