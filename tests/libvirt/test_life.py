# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain on a guest_memfd, from start to end."""
import subprocess

import pytest
from domain import source
from dumps import pages_of_the_pattern
from images import IMG
from marks import long
from memslots import assert_bound

DISK = '''
<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/>
  <source file='{path}'/>
  <target dev='vda' bus='virtio'/>
</disk>
'''


def filled_pages(domain):
    """That are certain to hold the guest's pattern"""
    return int(domain.do('verify').split()[0]) * 256


def assert_as_before(domain):
    """It runs, is bound, and has its memory"""
    assert domain.state() == 'running'
    domain.connect_control()
    domain.do('verify')
    assert_bound(domain.block())


@pytest.mark.parametrize('kind', ['default', 'memfd', 'anonymous'])
def test_one_argument_makes_any_memory_a_guest_memfd(run, kind):
    """And its name in a migration stays what it is"""
    domain = run(memory=source(kind))
    assert_bound(domain.block())
    assert domain.block()['id'] == 'pc.ram'


def test_a_domain_resets_pauses_and_ends(run):
    domain = run()
    domain.virsh('reset')
    domain.wait_verified()
    domain.wait_serving()
    domain.virsh('suspend')
    assert domain.state() == 'paused'
    domain.virsh('resume')
    assert_as_before(domain)
    domain.virsh('destroy')
    assert domain.state() == 'shut off'


def test_it_is_saved_and_restored(run, tmp_path):
    domain = run()
    saved = str(tmp_path / 'saved')
    domain.virsh('save', saved)
    assert domain.state() == 'shut off'
    domain.daemon.virsh('restore', saved)
    assert_as_before(domain)


@pytest.mark.parametrize('kind', ['default', long('memfd')])
@pytest.mark.parametrize('gmem', [True, False],
                         ids=['into ordinary memory', 'out of it'])
@pytest.mark.long
def test_it_is_restored_with_other_memory(run, tmp_path, gmem, kind):
    """The way from stock QEMU and back"""
    domain = run(gmem=gmem, memory=source(kind))
    saved = str(tmp_path / 'saved')
    domain.virsh('save', saved)
    domain.daemon.virsh('restore', saved, '--xml',
                        domain.write_xml(gmem=not gmem))
    domain.connect_control()
    domain.do('verify')
    assert len(domain.blocks()) == (0 if gmem else 1)


@pytest.mark.long
def test_libvirt_saves_it_by_itself(run):
    domain = run()
    domain.virsh('managedsave')
    assert domain.state() == 'shut off'
    domain.virsh('start')
    assert_as_before(domain)


@pytest.mark.long
@pytest.mark.parametrize('options', [
    [], ['--compress-format', 'zstd'], ['--bypass-cache']],
    ids=['plain', 'compressed', 'bypass-cache'])
def test_save_image_formats(run, tmp_path, options):
    domain = run()
    saved = str(tmp_path / 'saved')
    domain.virsh('save', saved, *options)
    domain.daemon.virsh('restore', saved)
    assert_as_before(domain)


@pytest.mark.parametrize('options', [['--live'], long([]),
                                     long(['--crash'])], ids=' '.join)
def test_a_dump_holds_its_memory(run, tmp_path, options):
    domain = run()
    pages = filled_pages(domain)
    domain.virsh('dump', str(tmp_path / 'dump'), '--memory-only', *options)
    assert pages_of_the_pattern(tmp_path / 'dump') >= pages
    if '--crash' not in options:
        assert_as_before(domain)


def new_disk(folder):
    path = folder / 'disk.qcow2'
    subprocess.run([IMG, 'create', '-q', '-f', 'qcow2', path, '1G'],
                   check=True)
    return DISK.format(path=path)


@pytest.mark.long
def test_a_snapshot_in_its_disk(run, tmp_path):
    domain = run(devices=new_disk(tmp_path))
    domain.virsh('snapshot-create-as', 'one')
    assert_as_before(domain)
    domain.do('fill 10')
    domain.virsh('snapshot-revert', 'one')
    assert_as_before(domain)
    domain.virsh('snapshot-delete', 'one')


@pytest.mark.long
def test_a_snapshot_beside_its_disk(run, tmp_path):
    domain = run(devices=new_disk(tmp_path))
    domain.virsh('snapshot-create-as', 'two', '--memspec',
                 f'{tmp_path}/memory,snapshot=external', '--diskspec',
                 f'vda,snapshot=external,file={tmp_path}/overlay')
    assert_as_before(domain)
    domain.do('fill 10')
    domain.virsh('snapshot-revert', 'two')
    assert_as_before(domain)
