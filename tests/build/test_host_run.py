# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/host/run gives back what its command did, and says when the host it
ran on is to blame."""
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def on_host(*command, options=()):
    return subprocess.run(
        [TOP / 'tests/host/run', '--mem=512M', *options, '--', *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, check=False)


@pytest.fixture(params=['x86_64', 'aarch64'])
def arch(request):
    return request.param


def test_status_output_and_results_come_back(arch, tmp_path):
    run = on_host('sh', '-c', 'uname -m; echo kept > $RESULTS/file; exit 7',
                  options=[f'--arch={arch}', f'--results={tmp_path}'])
    assert (run.returncode, run.stdout) == (7, f'{arch}\n')
    assert (tmp_path / 'file').read_text() == 'kept\n'


@pytest.mark.parametrize('status,options,command,said', [
    (124, ['--timeout=10'], 'sleep 1000', 'not done after 10 s'),
    (125, [], 'echo c > /proc/sysrq-trigger; sleep 1000', 'sysrq triggered'),
    (123, [], 'echo "<3>WARNING: from a test" > /dev/kmsg',
     'WARNING: from a test'),
], ids=['time-out', 'panic', 'splat'])
def test_a_host_that_fails(arch, status, options, command, said):
    run = on_host('sh', '-c', command, options=[f'--arch={arch}', *options])
    assert run.returncode == status, run.stderr
    assert said in run.stderr


@pytest.mark.parametrize('option', ['--kernels=stock', '--disk=16',
                                    '--arch=riscv64'])
def test_an_option_it_does_not_have(option):
    run = on_host('true', options=[option])
    assert run.returncode == 1
    assert run.stderr.count('\n') == 1
    assert option.split('=', maxsplit=1)[0] in run.stderr


def test_the_project_and_kvm_are_there(arch):
    """... under the paths they have here, which nothing there can change"""
    run = on_host('sh', '-c', 'ls -i Makefile && [ -c /dev/kvm ] && '
                  '! touch Makefile 2> /dev/null', options=[f'--arch={arch}'])
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith(' Makefile\n')


@pytest.mark.parametrize('lacking', [
    'rm /dev/kvm',
    'mount --bind /dev/null build/tests/qtest/gmem/gmem-test'])
def test_what_the_host_must_have_is_not_skipped(lacking):
    run = on_host('sh', '-c', f'{lacking} && exec /usr/bin/python3 -m pytest '
                  '-p no:cacheprovider tests/host/test_qtest.py')
    assert run.returncode != 0, run.stdout
