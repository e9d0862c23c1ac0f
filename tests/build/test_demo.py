# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo shows what it claims, and fails when it does not hold."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


class GuestError(Exception):
    """The guest fell silent: tests/check tries that once more."""


def run(*command, **environ):
    """Its exit status, and what it said"""
    done = subprocess.run(command, cwd=TOP, env={**os.environ, **environ},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    silent = re.search(r"^FAILED .*: (no '.*' in \d+ s.*)", done.stdout, re.M)
    if silent:
        raise GuestError(silent[1])
    return done.returncode, done.stdout


def number(pattern, said):
    return float(re.search(pattern, said)[1])


def test_it_boots_linux_on_a_guest_memfd_and_proves_it():
    status, said = run('make', 'demo', HOST='x86_64-conda-linux-gnu')
    assert status == 0
    for step in ('dependencies', 'QEMU', 'kernel', 'payload', 'host boots',
                 'guest boots', 'memory verified'):
        assert re.search(rf'^ok +[\d.]+ s  {step}', said, re.M), step
    verified = number(r'memory verified: (\d+) of \d+ MiB', said)
    assert verified > 1024
    assert number(r'([\d.]+)% of the guest.s RAM is bound', said) > 99
    assert number(r'bound (\d+) KiB, mapped', said) > 2040 << 10
    assert re.search(r'^  \S+ rw-s .*\[kvm-gmem\]', said, re.M)
    assert number(r'\((\d+) MiB served by guest_memfd\)', said) >= verified
    # it is KVM that reaches the memory, not QEMU
    assert number(r'\n  Rss: (\d+) kB', said) < verified * 1024 / 10


@pytest.fixture
def mapped():
    """The folder of a QEMU that binds no slot, whatever it is told"""
    path = TOP / 'build/demo/mapped/qemu-system-x86_64'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {TOP}/build/qemu-system-x86_64 "$@" '
                    '-machine guest-memfd-slots=mapped\n')
    path.chmod(0o755)
    yield path.parent
    path.unlink()


def test_it_fails_where_a_guest_memfd_serves_no_page(mapped):
    status, said = run('tests/host/run', '--', '/usr/bin/python3',
                       'tests/host/demo.py', GMEM_BUILD=str(mapped),
                       GMEM_DEMO_MEM='256M')
    assert status == 1
    assert re.search(r'^FAILED +evidence: ', said, re.M)
