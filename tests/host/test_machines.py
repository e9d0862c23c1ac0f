# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux boots on a guest_memfd, on every machine and under every policy."""
import os
import shutil

import pytest
from guest import ARCH, BOARD, GMEM, MIB, file_pages_mib
from marks import aarch64, long, x86
from memslots import HOLES

MACHINES = {'x86_64': ['pc', 'q35', 'q35,smm=off', 'microvm'],
            'aarch64': [BOARD, long(f'{BOARD},its=off')]}.get(ARCH, [])
# MiB of a small guest, and what Linux has of it, and fills of that.  Debian's
# kernel for arm64, a guest's as well there, keeps more to itself than ours.
SMALL, HAS, FILLS = ((224, 0.65, 0.65) if ARCH == 'aarch64' else
                     (160, 0.85, 0.75))
OVMF = '/usr/share/OVMF/OVMF_%s_4M%s.fd'
AAVMF = '/usr/share/AAVMF/AAVMF_%s.fd'


def assert_policy_holds(block, policy, only_smm=0):
    """The slots are what the policy promises, and no byte is bound twice.
    only_smm: bytes of RAM that nothing but SMM sees"""
    assert block['slots-policy'] == policy
    bound = sorted((slot['offset'], slot['offset'] + slot['size'])
                   for slot in block['slots'] if slot['bound'])
    assert all(end <= begin for (_, end), (begin, _) in zip(bound, bound[1:]))
    assert block['bound-bytes'] == sum(end - begin for begin, end in bound)
    if policy == 'mapped':
        assert not bound
        assert block['mapped-bytes'] > block['size'] - HOLES
        assert {slot['why-mapped'] for slot in block['slots']} == {'requested'}
    else:
        assert block['bound-bytes'] > block['size'] - only_smm - HOLES
        assert block['mapped-bytes'] >= only_smm
        assert {slot['why-mapped'] for slot in block['slots']
                if not slot['bound']} <= {'alias'}
    assert block['shared-bytes'] == block['size']
    assert block['private-bytes'] == 0
    assert block['counters']['refused'] == 0


def assert_most_memory(verified, whole, size_mib):
    assert whole > size_mib * HAS
    assert verified > whole * FILLS


@pytest.mark.parametrize('cpus', [long(1), 2])
@pytest.mark.parametrize('policy', ['auto', 'bound', 'mapped'])
@pytest.mark.parametrize('machine', MACHINES)
def test_linux_boots_and_its_memory_holds(boot, machine, policy, cpus):
    guest = boot(machine=f'{machine},guest-memfd=on,'
                         f'guest-memfd-slots={policy}',
                 mem=f'{SMALL}M', cpus=cpus)
    assert_most_memory(*guest.wait_verified(), SMALL)
    assert_policy_holds(guest.block(), policy)


@pytest.mark.parametrize('backend', ['memory-backend-guest-memfd',
                                     'memory-backend-memfd,guest-memfd=on'])
def test_a_backend_named_by_the_user_is_the_ram(boot, backend):
    guest = boot('-object', f'{backend},id=m0,size=256M,slots=bound',
                 machine=f'{BOARD},memory-backend=m0')
    guest.wait_verified()
    block = guest.block()
    assert block['memdev'] == 'm0'
    assert_policy_holds(block, 'bound')


@x86('SMM')
def test_ovmf_with_smm_boots_linux(boot, tmp_path):
    code, template = OVMF % ('CODE', '.secboot'), OVMF % ('VARS', '')
    if not os.path.exists(code):
        pytest.skip(f'{code} is not installed (package ovmf)')
    variables = shutil.copy(template, tmp_path)
    guest = boot('-global', 'driver=cfi.pflash01,property=secure,value=on',
                 '-global', 'ICH9-LPC.disable_s3=1',
                 '-drive', f'if=pflash,format=raw,readonly=on,file={code}',
                 '-drive', f'if=pflash,format=raw,file={variables}',
                 machine='q35,smm=on,guest-memfd=on', mem='512M')
    tseg = 64
    assert_most_memory(*guest.wait_verified(timeout=240), 512 - tseg)
    assert_policy_holds(guest.block(), 'auto', only_smm=tseg * MIB)


@aarch64('its firmware')
@pytest.mark.kernel('stock')        # ours is no EFI program
@pytest.mark.parametrize('acpi', ['on', long('off')])
def test_edk2_boots_linux(boot, tmp_path, acpi):
    variables = shutil.copy(AAVMF % 'VARS', tmp_path)
    guest = boot('-drive', 'if=pflash,format=raw,readonly=on,'
                 f'file={AAVMF % "CODE"}',
                 '-drive', f'if=pflash,format=raw,file={variables}',
                 machine=f'{GMEM},acpi={acpi}', mem='512M')
    assert_most_memory(*guest.wait_verified(timeout=300), 512)
    assert_policy_holds(guest.block(), 'auto')


@x86('the virt machine has its RAM in one piece')
@pytest.mark.parametrize('machine,mib,fill', [
    long('pc', 5 << 10, 40),
    ('q35,max-ram-below-4g=512M', 1 << 10, 70)])
def test_ram_on_both_sides_of_4_gib(boot, machine, mib, fill):
    guest = boot(machine=f'{machine},guest-memfd=on', mem=f'{mib}M', cpus=2,
                 fill=fill)
    verified, whole = guest.wait_verified(timeout=300)
    assert whole > mib * .9 and verified > whole * fill * .0085
    block = guest.block()
    assert_policy_holds(block, 'auto')
    assert any(slot['gpa'] == 4 << 30 and slot['bound']
               for slot in block['slots'])


def test_a_guest_resets_itself(boot):
    guest = boot(machine=GMEM, then='reboot', fill=50, cpus=2)
    guest.wait_verified()
    guest.wait_verified()
    guest.wait_for('user space')
    assert_policy_holds(guest.block(), 'auto')


@pytest.mark.parametrize('times', [3, long(10)])
def test_system_resets(boot, times):
    guest = boot(machine=GMEM, fill=10, cpus=2)
    for _ in range(times):
        guest.wait_for('user space')
        guest.cmd('system_reset')
    guest.wait_verified()
    assert_policy_holds(guest.block(), 'auto')


@pytest.mark.parametrize('policy,sizes', [('bound', [96, 480]),
                                          ('mapped', [480, 96])])
def test_backends_stay_on_the_host_nodes_they_name(boot, policy, sizes):
    if not os.path.exists('/sys/devices/system/node/node1'):
        pytest.skip('this host has one NUMA node (run --numa=2)')
    before = [file_pages_mib(0), file_pages_mib(1)]
    args = []
    for node, size in enumerate(sizes):
        args += ['-object', f'memory-backend-guest-memfd,id=m{node},'
                 f'size={size}M,slots={policy},host-nodes={node},policy=bind',
                 '-numa', f'node,memdev=m{node}']
    guest = boot(*args, machine=BOARD, mem='576M', cpus=2)
    verified, whole = guest.wait_verified()
    assert_most_memory(verified, whole, 576)
    used = [file_pages_mib(node) - before[node] for node in (0, 1)]
    assert sum(used) >= verified
    other_files = 64
    for node, size in enumerate(sizes):
        assert used[node] <= size + other_files
    for block in guest.blocks():
        assert_policy_holds(block, policy)
