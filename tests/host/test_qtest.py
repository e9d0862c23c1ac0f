# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtests of the objects (tests/qtest), against a real KVM."""
import os
import subprocess

import pytest
from guest import BUILD, QEMU

PROGRAM = os.path.join(BUILD, 'tests/qtest/gmem/gmem-test')
ENV = dict(os.environ, QTEST_QEMU_BINARY=QEMU, GMEM_TEST_ACCEL='kvm',
           QTEST_QEMU_IMG=os.path.join(BUILD, 'qemu-img'))


def names():
    if not os.access(PROGRAM, os.X_OK):
        return ['the program itself']
    listing = subprocess.run([PROGRAM, '-l'], env=ENV, text=True, check=True,
                             stdout=subprocess.PIPE, timeout=60)
    return [line for line in listing.stdout.splitlines()
            if line.startswith('/')]


@pytest.mark.parametrize('name', names())
def test_with_kvm(name):
    done = subprocess.run([PROGRAM, '--tap', '-k', '-p', name], env=ENV,
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd='/tmp', timeout=120)
    print(done.stdout)
    if '# SKIP' in done.stdout:
        pytest.skip(done.stdout.split('# SKIP', 1)[1].splitlines()[0].strip())
    assert done.returncode == 0
    assert '\nok ' in done.stdout
