# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the host that a domain gets, and what KVM does for it."""
import os
import re

import pytest
from dimms import DIMM, HOTPLUGGED, block_of, guest_has_mib
from guest import MIB, wait_until
from marks import long
from memory import NEW_DIMM
from memslots import assert_bound
from passthrough import EDU, MAPS_FILE, assert_mapped_for_devices, find

# What a domain may open, and by iommufd what it needs beside it
ACL = '''
cgroup_device_acl = [
    "/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom",
    "/dev/ptmx", "/dev/kvm", "/dev/userfaultfd", "/dev/iommu",
    "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"
]'''
SLOT = 5      # where the guest sees the device
HOSTDEV = '''
<hostdev mode='subsystem' type='pci' managed='yes'>
  <driver name='vfio'/>
  <source>
    <address domain='0x{0}' bus='0x{1}' slot='0x{2}' function='0x{3}'/>
  </source>
  <alias name='ua-edu'/>
  <address type='pci' bus='{bus}' slot='{slot}'/>
</hostdev>'''
# How libvirt before 12 can be told
BY_IOMMUFD = '''
<qemu:override>
  <qemu:device alias='ua-edu'>
    <qemu:frontend>
      <qemu:property name='iommufd' type='string' value='i0'/>
    </qemu:frontend>
  </qemu:device>
</qemu:override>'''


@pytest.fixture
def edu():
    found = find(EDU)
    if not found:
        pytest.skip('this host has no edu device')
    return found[0]


def hostdev(address, bus=0, slot=SLOT):
    return HOSTDEV.format(*re.split('[:.]', address), bus=bus, slot=slot)


@pytest.mark.parametrize('how', [long('type1'), long('iommufd')])
def test_a_device_reaches_all_memory_also_what_is_plugged_later(
        growing, daemon_of, daemon, edu, how):
    what = {'devices': hostdev(edu)}
    args = []
    if how == 'iommufd':
        daemon = daemon_of('iommufd', ACL)
        args = ['-object', 'iommufd,id=i0']
        what['override'] = BY_IOMMUFD
    by_file = MAPS_FILE and how == 'iommufd'
    domain = growing(*args, on=daemon, **what)
    assert_mapped_for_devices(domain, 128, by_file)
    domain.do(f'dma 0000:00:0{SLOT}.0 0')
    small = guest_has_mib(domain)
    domain.virsh('attach-device', domain.write_device(NEW_DIMM), '--live')
    wait_until(lambda: guest_has_mib(domain) >= small + DIMM)
    assert_mapped_for_devices(domain, 128 + DIMM, by_file)
    domain.do(f'dma 0000:00:0{SLOT}.0 {HOTPLUGGED:#x}')
    for block in domain.blocks():
        assert_bound(block)


@pytest.mark.long
def test_a_device_that_is_plugged_later(run, edu):
    port = "<controller type='pci' index='1' model='pcie-root-port'/>"
    domain = run(devices=port)
    assert domain.cmd('query-guest-memfd')['containers'] == []
    text = hostdev(edu, bus=1, slot=0)
    domain.virsh('attach-device', domain.write_device(text), '--live')
    assert_mapped_for_devices(domain, 128, False)
    domain.do('verify')
    assert_bound(domain.block())


@pytest.mark.long
def test_a_dirty_ring(run):
    domain = run(features="<kvm><dirty-ring state='on' size='4096'/></kvm>")
    assert 'dirty-ring-size' in domain.command_line()
    assert_bound(domain.block())


@pytest.mark.long
def test_a_software_protected_guest(define):
    """No <launchSecurity>: by two arguments"""
    kernel = os.environ.get('GMEM_CONVERTING')
    if not kernel:
        pytest.skip('GMEM_CONVERTING names no kernel')
    domain = define('-object', 'sw-protected-guest,id=s0', '-machine',
                    'confidential-guest-support=s0', gmem=False,
                    kernel=kernel).start()
    domain.do('convert 16 private')
    assert block_of(domain, 'pc.ram')['private-bytes'] == 16 * MIB
    domain.do('convert 16 shared')
    assert block_of(domain, 'pc.ram')['private-bytes'] == 0
    domain.do('verify')
