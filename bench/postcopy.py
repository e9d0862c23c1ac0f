# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: what a Linux guest sees of pages that postcopy brings.

usage: postcopy.py ROUNDS

Prints a JSON line for each migration.
"""
import json
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests/host'))

# pylint: disable=wrong-import-position
from guest import MIB, Guest, wait_until  # noqa: E402
from migration import (is_running, listen, set_capabilities,  # noqa: E402
                       set_parameters, status)

# A part of what the guest has in use, which is as much as it can
USED_PERCENT, MEM = 85, '352M'
MACHINES = {
    'userfault': ('q35,guest-memfd=on,guest-memfd-postcopy=userfault', ()),
    'mapped': ('q35,guest-memfd=on,guest-memfd-postcopy=mapped', ()),
    'memfd': ('q35,memory-backend=m0',
              ('-object', f'memory-backend-memfd,id=m0,size={MEM}')),
    'anonymous': ('q35', ()),
}
# vCPUs, threads that touch, pages each, workers, MiB a second (0: no limit)
CASES = {
    '1 vCPU': (1, 1, 2000, 0, 1),
    '1 vCPU, no limit': (1, 1, 2000, 0, 0),
    '2 vCPUs': (2, 2, 1000, 0, 1),
    '4 vCPUs': (4, 4, 500, 0, 1),
    'more tasks': (1, 4, 500, 1, 1),
}


def start(kind, cpus, **kwargs):
    machine, args = MACHINES[kind]
    return Guest(*args, machine=machine, mem=MEM, cpus=cpus, then='serve',
                 fill=USED_PERCENT, **kwargs)


def begin(source, destination, bandwidth):
    """Nearly all memory is at the source when the guest runs on"""
    set_capabilities(['postcopy-ram', 'postcopy-preempt'], True, source,
                     destination)
    set_capabilities(['postcopy-blocktime'], True, destination)
    set_parameters({'max-bandwidth': 8 * MIB,
                    'max-postcopy-bandwidth': bandwidth * MIB}, source)
    # TCP would have a request wait 40 ms for an acknowledgement, now and then
    source.cmd('migrate', uri=listen(
        destination, f'unix:{destination.temp_dir}/migration'))
    wait_until(lambda: source.cmd('query-migrate').get('ram', {}).get(
        'transferred', 0) > 0)
    source.cmd('migrate-start-postcopy')
    wait_until(lambda: is_running(destination))


def requests(destination):
    """How often a page was asked for, by vCPUs and by all"""
    told = destination.cmd('query-migrate')
    blocks = destination.cmd('query-guest-memfd')['blocks']
    return {'faults': sum(told['postcopy-latency-dist']),
            'blocktime-ms': max(told['postcopy-vcpu-blocktime']),
            **{what: sum(block['postcopy'][what] for block in blocks)
               for what in ('exits', 'requests')}}


def measure(kind, case):
    cpus, threads, pages, workers, bandwidth = CASES[case]
    source = start(kind, cpus)
    destination = start(kind, cpus, incoming=True)
    try:
        source.wait_verified()
        source.wait_serving()
        begin(source, destination, bandwidth)
        destination.connect_control()
        said = destination.do(f'touch {threads} {pages} {workers}')
        set_parameters({'max-postcopy-bandwidth': 0}, source)
        wait_until(lambda: status(source) == 'completed')
        wait_until(lambda: status(destination) == 'completed')
        info = source.cmd('query-migrate')
        n, ns, p50, p99, most, rounds = map(int, re.findall(r'\b\d+\b', said))
        return {'pages': n, 'ns': ns, 'p50': p50, 'p99': p99, 'max': most,
                'rounds': rounds, 'a-second': n * 1e9 / ns,
                'downtime': info['downtime'], 'total-time': info['total-time'],
                'asked': info['ram']['postcopy-requests'],
                **requests(destination)}
    finally:
        source.end()
        destination.end()


def main():
    for _ in range(int(sys.argv[1])):
        for case in sys.argv[2:] or CASES:
            for kind in MACHINES:
                print(json.dumps({'case': case, 'kind': kind,
                                  **measure(kind, case)}), flush=True)


if __name__ == '__main__':
    main()
