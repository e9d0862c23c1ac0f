# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: touch.S on every kind of memory, in turn.

usage: first_touch.py QEMU GUEST ROUNDS

Prints the name of the kind before each guest; the plugin notes the rest.
"""
import os
import subprocess
import sys

THP = '/sys/kernel/mm/transparent_hugepage/enabled'
GMEM = 'memory-backend-guest-memfd,id=m0,size=384M'
KINDS = {
    'bound': f'{GMEM},slots=bound',
    'bound, preallocated': f'{GMEM},slots=bound,prealloc=on',
    'mapped': f'{GMEM},slots=mapped',
    'memfd': 'memory-backend-memfd,id=m0,size=384M',
    'anonymous': 'memory-backend-ram,id=m0,size=384M',
    'anonymous, huge pages': 'memory-backend-ram,id=m0,size=384M',
}


def run(qemu, guest, backend, *args, machine='q35'):
    """A guest that touches its memory, and ends"""
    done = subprocess.run(
        [qemu, '-nodefaults', '-no-user-config', '-display', 'none',
         '-accel', 'kvm', '-cpu', 'qemu64,-svm', '-m', '384M',
         '-machine', f'{machine},memory-backend=m0', '-object', backend,
         '-device', 'isa-debug-exit,iobase=0xf4', '-kernel', guest, *args],
        env=dict(os.environ, HOME='/run/home'), check=False)
    if done.returncode != 1:
        sys.exit(f'{backend}: QEMU ended with {done.returncode}')


def main():
    qemu, guest, rounds = sys.argv[1:]
    for _ in range(int(rounds)):
        for kind, backend in KINDS.items():
            with open(THP, 'w') as thp:
                thp.write('madvise' if 'huge' in kind else 'never')
            print(kind, flush=True)
            run(qemu, guest, backend)


if __name__ == '__main__':
    main()
