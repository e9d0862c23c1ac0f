# SPDX-License-Identifier: GPL-2.0-or-later
"""Our selftests of the host kernel's interfaces, run on the emulated host.

GMEM_SELFTESTS names the folder they are built in; each speaks TAP.
"""
import os
import re
import subprocess

import pytest

FOLDER = os.environ.get('GMEM_SELFTESTS', '')
PROGRAMS = sorted(os.listdir(FOLDER)) if FOLDER else []


def test_there_are_programs_to_run():
    assert PROGRAMS, 'GMEM_SELFTESTS names no folder with programs'


@pytest.fixture(autouse=True)
def paging():
    """The kernel's is what its command line asks for"""
    with open('/proc/cmdline') as line:
        nested = 'kvm_amd.npt=0' not in line.read()
    with open('/sys/module/kvm_amd/parameters/npt') as used:
        assert (used.read().strip() in 'Y1') == nested


@pytest.mark.parametrize('program', PROGRAMS)
def test_selftest(program):
    run = subprocess.run([os.path.join(FOLDER, program)], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=1200, check=False)
    print(run.stdout)
    if run.stdout.startswith('1..0 # SKIP'):
        pytest.skip(run.stdout.splitlines()[0])
    assert not re.findall(r'^not ok .*', run.stdout, re.MULTILINE)
    assert run.returncode == 0
    assert re.search(r'^ok ', run.stdout, re.MULTILINE)
    skipped = re.findall(r'^ok \d+ - (.* # SKIP .*)', run.stdout, re.MULTILINE)
    if skipped:
        pytest.skip(f'all passed, but for {len(skipped)}: {skipped[0]}')
