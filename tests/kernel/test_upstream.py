# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's own selftests say the same on the stock and on the patched kernel.

They are of the same source as the kernels.  Each kernel is booted once and
runs its programs; what they print is compared line by line.  The file
"differences" lists the lines in which a kernel is meant to differ.
"""
import difflib
import functools
import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
OUT = TOP / 'build/check/linux-selftests'

# The mock IOMMU and fault injection are in the debug kernels only.
PROGRAMS = {
    'guest_memfd_test': ('stock', 'gmem'),
    'set_memory_region_test': ('stock', 'gmem'),
    'pre_fault_memory_test': ('stock', 'gmem'),
    'private_mem_conversions_test': ('stock', 'gmem'),
    'private_mem_kvm_exits_test': ('stock', 'gmem'),
    'memslot_modification_stress_test': ('stock', 'gmem'),
    'dirty_log_test': ('stock', 'gmem'),
    'nested_dirty_log_test': ('stock', 'gmem'),
    'uffd-unit-tests': ('stock', 'gmem'),
    'iommufd': ('stock-debug', 'gmem-debug'),
    'iommufd_fail_nth': ('stock-debug', 'gmem-debug'),
}
# Their harness gives a test 30 s, which is little on a busy emulated host.
RUN = '''
echo 64 > /proc/sys/vm/nr_hugepages
cd /tmp
for program; do
    for try in 1 2 3; do
        timeout 1500 "$0/$program" > "$RESULTS/$program" 2>&1
        echo "exit status $?" >> "$RESULTS/$program"
        grep -q "terminated by timeout" "$RESULTS/$program" || break
        echo "$program: timed out by its harness, try $try"
    done
done
'''
# The mock's dma-buf: in this source its ioctl returns 0, not the descriptor.
FAILS_ANYWHERE = re.compile(r'not ok .*\.dmabuf_(simple|revoke)$', re.M)
# What differs from run to run: addresses, numbers of processes, times, pages.
VARIES = re.compile(r'\b0x[0-9a-f]+\b|\bpid[ :=]*\d+|\d+\.\d+ ?m?s\b'
                    r'|\ba \d+ ms delay'
                    r'|\b(dirty|clean|clear|writes)(: | \()\d+ *')


@functools.cache
def ran(kernel):
    """The folder with what the programs of this kernel printed"""
    programs = [name for name, kernels in PROGRAMS.items()
                if kernel in kernels]
    folder = subprocess.run([HERE / 'build', 'selftests'], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.strip()
    run = subprocess.run(
        [TOP / 'tests/host/run', f'--kernel={kernel}', '--timeout=3600',
         f'--results={OUT / kernel}', '--', 'sh', '-c', RUN, folder,
         *programs], check=False)
    assert run.returncode == 0, f'{kernel}: status {run.returncode}'
    return OUT / kernel


def printed(kernel, program):
    text = (ran(kernel) / program).read_text(errors='replace')
    return [VARIES.sub('...', line.rstrip()) for line in text.splitlines()]


def meant(program):
    """The lines, each with a - (stock) or a + (patched), of "differences"""
    lines = (HERE / 'differences').read_text().splitlines()
    return [line.split(': ', 1)[1] for line in lines
            if line.startswith(f'{program}: ')]


@pytest.mark.parametrize('program', PROGRAMS)
def test_says_the_same_on_stock_and_gmem(program):
    stock, patched = (printed(kernel, program) for kernel in PROGRAMS[program])
    diff = [line for line in difflib.unified_diff(stock, patched, n=0,
                                                  lineterm='')
            if not line.startswith(('---', '+++', '@@'))]
    assert diff == meant(program)


@pytest.mark.parametrize('program', PROGRAMS)
def test_passes_on_gmem(program):
    lines = printed(PROGRAMS[program][1], program)
    failed = [line for line in lines if line.startswith('not ok')
              and not FAILS_ANYWHERE.search(line)]
    assert not failed, '\n'.join(lines)
    known = FAILS_ANYWHERE.search('\n'.join(lines))
    assert lines[-1] == f'exit status {1 if known else 0}', '\n'.join(lines)
