# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: precopy of a bound guest_memfd beside memfd.

usage: migration.py ROUNDS

Prints a JSON line for each migration, with marks 1 and 2 around it.
"""
import json
import os
import sys

from machine import Machine, mark, wait_until

SHOWN = ['total-time', 'downtime', 'setup-time']
SHOWN_RAM = ['transferred', 'dirty-sync-count', 'normal', 'duplicate']


def migrate(kind, guest):
    with Machine(kind, guest=guest) as source, \
            Machine(kind, '-incoming', 'defer') as destination:
        socket = os.path.join(source.temp_dir, 'migration')
        source.cmd('migrate-set-parameters', **{'max-bandwidth': 1 << 40})
        destination.cmd('migrate-incoming', uri=f'unix:{socket}')
        mark(1)
        source.cmd('migrate', uri=f'unix:{socket}')
        wait_until(lambda: source.cmd('query-migrate')['status']
                   in ('completed', 'failed'))
        mark(2)
        info = source.cmd('query-migrate')
        if info['status'] != 'completed':
            sys.exit(f'error: {info}')
        return {name: info[name] for name in SHOWN} | \
            {name: info['ram'][name] for name in SHOWN_RAM}


def main():
    for _ in range(int(sys.argv[1])):
        for guest in 'idle', 'dirty':
            for kind in 'bound', 'memfd':
                print(json.dumps({'guest': guest, 'kind': kind,
                                  **migrate(kind, guest)}), flush=True)


if __name__ == '__main__':
    main()
