# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: precopy of a bound guest_memfd beside memfd.

usage: migration.py ROUNDS

Prints a JSON line for each migration, with marks 1 and 2 around it; "cancelled"
is one that is, and "refaults" how many pages KVM has to map anew after it.
"""
import datetime
import json
import os
import re
import sys

from machine import LOGS, Machine, mark, wait_until

SHOWN = ['total-time', 'downtime', 'setup-time']
SHOWN_RAM = ['transferred', 'dirty-sync-count', 'normal', 'duplicate']


def dirty_sync_us(log):
    """What QEMU traced: how long it takes at best to ask KVM what was
    written"""
    times = [datetime.datetime.fromisoformat(time) for time in
             re.findall(r'(\S+)Z migration_bitmap_sync_(?:start|end)', log)]
    return min((end - start) / datetime.timedelta(microseconds=1)
               for start, end in zip(times[::2], times[1::2]))


def migrate(kind, guest):
    with Machine(kind, '-msg', 'timestamp=on', '-trace',
                 'migration_bitmap_sync_*', guest=guest) as source, \
            Machine(kind, '-incoming', 'defer') as destination:
        socket = os.path.join(source.temp_dir, 'migration')
        before = source.pauses()
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
        paused = source.pauses() - before
        source.shutdown()
        return {name: info[name] for name in SHOWN} | \
            {name: info['ram'][name] for name in SHOWN_RAM} | \
            {'dirty-sync-us': dirty_sync_us(source.get_log()),
             'pauses': paused}


def cancel(kind):
    """One that has got nowhere"""
    def is_in(*states):
        return vm.cmd('query-migrate').get('status') in states

    with Machine(kind, guest='idle') as vm:
        vm.cmd('migrate-set-parameters', **{'max-bandwidth': 1 << 20})
        before, pages = vm.pauses(), vm.pages_mapped()
        mark(1)
        vm.cmd('migrate', uri='exec:cat > /dev/null')
        wait_until(lambda: is_in('active'))
        vm.cmd('migrate_cancel')
        wait_until(lambda: is_in('cancelled'))
        mark(2)
        return {'pauses': vm.pauses() - before,
                'refaults': max(pages - vm.pages_mapped(), 0)}


def main():
    for _ in range(int(sys.argv[1])):
        for kind in LOGS:
            for guest in 'idle', 'dirty':
                print(json.dumps({'guest': guest, 'kind': kind,
                                  **migrate(kind, guest)}), flush=True)
            print(json.dumps({'guest': 'cancelled', 'kind': kind,
                              **cancel(kind)}), flush=True)


if __name__ == '__main__':
    main()
