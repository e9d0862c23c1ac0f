# SPDX-License-Identifier: GPL-2.0-or-later
"""Upstream's migration-test, with a guest_memfd as the memory of every VM."""
import os
import re
import subprocess

import pytest
from guest import TOP

HERE = os.path.dirname(os.path.realpath(__file__))
PROGRAM = os.path.join(TOP, 'build/tests/qtest/migration-test')
QEMU = os.path.join(TOP, 'tests/host/memory-system-x86_64')
# What is refused, and what is said then; postcopy where the kernel lacks it
REFUSED = {
    'postcopy': 'postcopy-ram: this kernel has no userfaultfd for missing '
                'pages of a guest_memfd',
    'mode/transfer': 'a guest_memfd belongs to one VM',
    'mode/exec': 'a guest_memfd belongs to one VM',
}
if os.environ.get('GMEM_KERNEL_NAME') == 'gmem':
    del REFUSED['postcopy']
# These must pass, in every run.  The rest runs with --long.
CUT = ['migration/postcopy/plain', 'migration/precopy/unix/plain']


def run(memory, *args, strategy='auto'):
    env = dict(os.environ, GMEM_MEMORY=memory, GMEM_POSTCOPY=strategy,
               QTEST_QEMU_BINARY=QEMU,
               QTEST_QEMU_IMG=os.path.join(TOP, 'build/qemu-img'),
               QEMU_TEST_FLAKY_TESTS='1', PYTHON='/usr/bin/python3')
    return subprocess.run([PROGRAM, '--full', '-m', 'slow', *args], env=env,
                          text=True, stdout=subprocess.PIPE, timeout=300,
                          stderr=subprocess.STDOUT,
                          cwd=os.path.join(TOP, 'upstream'))


def names():
    """What the list says, not the program: a case that is gone must be seen"""
    with open(os.path.join(HERE, 'migration-test.cases')) as cases:
        return [line.strip() for line in cases if line[0] not in '#\n']


NAMES = names()


def outcome(memory, name, strategy='auto'):
    """ok, not ok or skip, and what was said"""
    # -p means all that begins so
    longer = [word for other in NAMES if other.startswith(f'{name}/')
              for word in ('-s', f'/x86_64/{other}')]
    try:
        done = run(memory, '--tap', '-p', f'/x86_64/{name}', *longer,
                   strategy=strategy)
    except subprocess.TimeoutExpired as err:
        return 'not ok', str(err)
    print(done.stdout)
    verdict = re.search(r'^(ok|not ok) \d+ \S+( # SKIP)?', done.stdout, re.M)
    if done.returncode or not verdict:
        return 'not ok', done.stdout
    return 'skip' if verdict[2] else verdict[1], done.stdout


def reason(name):
    """Why it is refused with a guest_memfd, or None"""
    return next((said for what, said in REFUSED.items() if what in name),
                None)


def test_the_list_of_cases_is_the_program_s():
    listing = run('memfd', '-l').stdout
    cases = re.findall('^/x86_64/(.*)$', listing, re.M)
    assert sorted(cases) == sorted(NAMES), 'correct migration-test.cases'


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name in CUT else pytest.mark.long)
    for name in NAMES])
def test_ends_as_with_a_memfd(name):
    result, said = outcome('guest-memfd', name)
    if reason(name):
        assert result == 'not ok' and reason(name) in said
    elif name in CUT:
        assert result == 'ok'
    else:
        assert result == 'ok' or result == outcome('memfd', name)[0]


@pytest.mark.kernel('gmem')
@pytest.mark.parametrize('strategy', ['mapped', 'userfault'])
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name in CUT else pytest.mark.long)
    for name in NAMES if 'postcopy' in name])
def test_postcopy_ends_as_with_a_memfd(name, strategy):
    """... whatever the strategy"""
    result, _ = outcome('guest-memfd', name, strategy)
    assert result == 'ok' or (name not in CUT and
                              result == outcome('memfd', name)[0])
