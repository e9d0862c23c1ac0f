# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion in a real bash, on a terminal, of the QEMU that was built"""
import os
import pathlib
import pty
import re
import select
import signal
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
FILE = TOP / 'contrib/completion/qemu-system-gmem'


def read_until(terminal, pattern, seconds=20):
    """What came up to the pattern; all there was if it did not come"""
    text, end = '', time.monotonic() + seconds
    while time.monotonic() < end and not re.search(pattern, text):
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 4096).decode(errors='replace')
    return text


@pytest.fixture(name='bash')
def fixture_bash():
    pid, terminal = pty.fork()
    if pid == 0:
        env = {'PATH': f'{TOP}/build:{os.environ["PATH"]}', 'PS1': '> ',
               'TERM': 'dumb', 'INPUTRC': '/dev/null', 'COLUMNS': '400',
               'HISTFILE': '/dev/null'}
        os.execve('/bin/bash', ['bash', '--norc', '--noprofile', '-i'], env)
    os.write(terminal, f'. {FILE}; stty cols 400; echo rea""dy\n'.encode())
    assert 'ready' in read_until(terminal, r'ready\r\n')
    yield terminal
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)


@pytest.mark.parametrize('typed, becomes', [
    ('-machine q3', '-machine q35'),
    ('-machine q35,guest-memfd-sl', '-machine q35,guest-memfd-slots='),
    ('-machine q35,guest-memfd-slots=b',
     '-machine q35,guest-memfd-slots=bound'),
    ('-machine q35,guest-memfd=on,guest-memfd-dire',
     '-machine q35,guest-memfd=on,guest-memfd-direct-map='),
    ('-M type=q35,guest-memfd=of', '-M type=q35,guest-memfd=off'),
    ('-object memory-backend-gu', '-object memory-backend-guest-memfd'),
    ('-object memory-backend-guest-memfd,id=m0,direct',
     '-object memory-backend-guest-memfd,id=m0,direct-map='),
])
def test_tab_completes(bash, typed, becomes):
    os.write(bash, f'echo begin; qemu-system-x86_64 {typed}\t'.encode())
    shown = read_until(bash, re.escape(becomes))
    assert f'qemu-system-x86_64 {becomes}' in shown, shown


def test_what_can_go_on_in_two_ways_waits(bash):
    os.write(bash, b'qemu-system-x86_64 -M q35,guest-memfd-di\t\t\t')
    shown = read_until(bash, r'dirty-log=[^$]*direct|direct-map=[^$]*dirty')
    assert 'guest-memfd-direct-map=' in shown, shown
    assert 'guest-memfd-dirty-log=' in shown, shown


def test_other_options_are_left_alone(bash):
    os.write(bash, b'qemu-system-x86_64 -name q3\t!')
    shown = read_until(bash, r'-name \S*!')
    assert '-name q3!' in shown.replace('\x07', ''), shown
