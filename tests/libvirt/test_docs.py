# SPDX-License-Identifier: GPL-2.0-or-later
"""What docs/libvirt.md says works when it is pasted."""
import os
import re

import pytest
from guest import TOP
from memslots import assert_bound

pytestmark = pytest.mark.long

# What is otherwise on this host
HERE = {
    "unit='GiB'>1</memory>": "unit='MiB'>256</memory>",
    '/boot/vmlinuz': '{kernel}',
    '/boot/initrd.img': '{initrd}',
    'console=ttyS0<': 'console=ttyS0 quiet panic=-1 gmem.then=idle '
                      'gmem.fill=25<',
    "<cpu mode='host-passthrough'/>":
        "<cpu mode='custom'><model>qemu64</model>"
        "<feature policy='disable' name='svm'/></cpu>",
    '/usr/local/bin/qemu-system-x86_64': '{emulator}',
    "<console type='pty'/>":
        "<serial type='file'><source path='{folder}/console'/></serial>",
}


def pieces(tag):
    """The examples that begin with this tag"""
    with open(os.path.join(TOP, 'docs/libvirt.md')) as docs:
        return re.findall(rf'^    <{tag}\b.*?^    </{tag}>$', docs.read(),
                          re.M | re.S)


def whole_domain():
    text, = pieces('domain')
    for there, here in HERE.items():
        assert there in text
        text = text.replace(there, here)
    return text


def test_the_domain_starts(define):
    domain = define(template=whole_domain(), then='idle').start()
    assert_bound(domain.block())


def test_the_pieces_go_into_it(define):
    """libvirt takes them, and keeps them"""
    hostdev, = pieces('hostdev')
    arguments = pieces('qemu:commandline')[0]
    override, = pieces('qemu:override')
    numatune, = pieces('numatune')
    text = re.sub(r'<qemu:commandline>.*</qemu:commandline>',
                  arguments + override, whole_domain(), flags=re.S)
    text = text.replace('</devices>', hostdev + '</devices>')
    text = text.replace('<os>', numatune + '<os>')
    text = text.replace('</cpu>', '''<numa>
        <cell id='0' cpus='0' memory='128' unit='MiB'/>
        <cell id='1' cpus='1' memory='128' unit='MiB'/></numa></cpu>''')
    domain = define(template=text)
    kept = domain.virsh('dumpxml', '--inactive')
    for words in ("<memnode cellid='0' mode='strict' nodeset='1'/>",
                  "<alias name='ua-dev'/>", "value='iommufd,id=i0'/>",
                  "<qemu:property name='iommufd' type='string' value='i0'/>"):
        assert words in kept
