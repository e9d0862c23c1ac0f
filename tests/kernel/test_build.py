# SPDX-License-Identifier: GPL-2.0-or-later
"""The patched kernel as others configure it: for the other architecture, and
with KVM as modules that can do all kinds of confidential guests."""
import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
EMULATOR = HERE.parents[1] / 'build/qemu-system-aarch64'


@pytest.fixture(scope='module')
def image():
    if not shutil.which('aarch64-linux-gnu-gcc') and \
            os.uname().machine != 'aarch64':
        pytest.skip('no aarch64-linux-gnu-gcc (gcc-aarch64-linux-gnu)')
    build = subprocess.run([HERE / 'build', 'gmem'], text=True, check=False,
                           env={**os.environ, 'ARCH': 'arm64'},
                           stdout=subprocess.PIPE)
    assert build.returncode == 0
    return pathlib.Path(build.stdout.strip())


def size_of(symbol, system_map):
    """Up to the next symbol"""
    lines = sorted(system_map.read_text().splitlines())
    at = next(i for i, line in enumerate(lines)
              if line.split()[2] == symbol)
    return int(lines[at + 1].split()[0], 16) - int(lines[at].split()[0], 16)


def test_the_series_builds_for_arm64(image):
    assert image.read_bytes()[56:60] == b'ARM\x64'
    config = (image.parent / 'config').read_text()
    for option in 'KVM_GUEST_MEMFD', 'IOMMUFD':
        assert f'CONFIG_{option}=y\n' in config
    # On an architecture without userfaults it only returns 0.
    assert size_of('kvm_check_userfault', image.parent / 'System.map') > 64


def test_the_arm64_kernel_is_a_kvm_host(image):
    """It has no root to go on with, but KVM is up by then."""
    if not EMULATOR.exists():
        pytest.skip(f'{EMULATOR} is not built')
    boot = subprocess.run(
        [EMULATOR, '-machine', 'virt,virtualization=on,gic-version=3',
         '-cpu', 'neoverse-n1', '-accel', 'tcg', '-m', '1G', '-nodefaults',
         '-display', 'none', '-serial', 'stdio', '-no-reboot', '-kernel',
         image, '-append', 'console=ttyAMA0 panic=-1'],
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300, check=False)
    assert 'VHE mode initialized' in boot.stdout
    assert 'Unable to mount root fs' in boot.stdout
    assert 'WARNING' not in boot.stdout and 'BUG:' not in boot.stdout


def test_kvm_with_sev_links_as_modules():
    """modpost fails for a symbol that one module uses and none exports."""
    if os.uname().machine != 'x86_64':
        pytest.skip('an x86-64 kernel, which is built on x86-64 only')
    build = subprocess.run([HERE / 'build', 'gmem-modules'], text=True,
                           check=False, stdout=subprocess.PIPE)
    assert build.returncode == 0
    folder = pathlib.Path(build.stdout.strip())
    names = {path.name for path in folder.iterdir()}
    assert {'kvm.ko', 'kvm-amd.ko', 'kvm-intel.ko', 'iommufd.ko'} <= names
    assert b'sev' in (folder / 'kvm-amd.ko').read_bytes()
