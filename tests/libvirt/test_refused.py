# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be is refused: by one line that virsh relays, with the daemons
intact, and the domain what it was before."""
import contextlib
import os
import re
import resource
import stat
import subprocess

import pytest
from daemons import Session, VirshError, reachable
from dimms import DIMM, guest_has_mib
from domain import backing, source
from guest import wait_until
from marks import long
from memory import NEW_DIMM
from memslots import SHIM, assert_bound
from migrations import assert_stayed, finish, moving

OLDER = '/usr/bin/qemu-system-x86_64'


@contextlib.contextmanager
def refused(words):
    """virsh fails, says these words once, and in one line of ours"""
    with pytest.raises(VirshError) as caught:
        yield
    lines = caught.value.lines()
    print(*lines, sep='\n')
    assert all(line.startswith('error: ') for line in lines)
    assert len(lines) <= 2
    assert re.search(words, lines[-1])


def assert_untouched(domain):
    """It has the memory that it had, and its contents"""
    assert domain.state() == 'running'
    assert_bound(domain.block())
    domain.do('verify')


@contextlib.contextmanager
def kvm_mode(mode):
    before = stat.S_IMODE(os.stat('/dev/kvm').st_mode)
    os.chmod('/dev/kvm', mode)
    try:
        yield
    finally:
        os.chmod('/dev/kvm', before)


@pytest.mark.parametrize('which', ['older', long('unmodified')])
def test_a_qemu_without_the_property(define, which):
    emulator = OLDER
    if which == 'unmodified':
        emulator = os.environ.get('GMEM_UNMODIFIED')
    if not emulator or not os.path.exists(emulator):
        pytest.skip(f'no {which} QEMU here')
    domain = define(emulator=emulator)
    with refused("Property '.*-machine.guest-memfd' not found"):
        domain.virsh('start')
    assert domain.state() == 'shut off'


def test_memory_of_a_file(define):
    domain = define(memory=source('file'))
    with refused("pc.ram.*a memory-backend-file cannot be a guest_memfd"):
        domain.virsh('start')


def test_no_kvm(define):
    """(libvirt's word for TCG is 'qemu'.)"""
    domain = define()
    path = domain.write_xml()
    with open(path) as file:
        text = file.read()
    with open(path, 'w') as file:
        file.write(text.replace("type='kvm'", "type='qemu'"))
    domain.daemon.virsh('define', path)
    with refused('guest_memfd needs KVM; use -accel kvm'):
        domain.virsh('start')


@pytest.fixture
def huge_pages():
    """The host has some, and libvirt sees where"""
    os.makedirs('/tmp/huge', exist_ok=True)
    pool = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'
    subprocess.run(['mount', '-t', 'hugetlbfs', 'huge', '/tmp/huge'],
                   check=True)
    with open(pool, 'w') as file:
        file.write('80')
    yield
    with open(pool, 'w') as file:
        file.write('0')
    subprocess.run(['umount', '/tmp/huge'], check=True)


@pytest.mark.parametrize('kind,words', [
    ('memfd', 'hugetlb=on: a guest_memfd has no huge pages; use hugetlb=off'),
    long('default', 'a memory-backend-file cannot be a guest_memfd')])
def test_huge_pages(define, daemon_of, huge_pages, kind, words):
    daemon = daemon_of('huge', 'hugetlbfs_mount = "/tmp/huge"')
    content = '' if kind == 'default' else f"<source type='{kind}'/>"
    domain = define(on=daemon, memory=backing(f'<hugepages/>{content}'))
    with refused(f"pc.ram.*{words}"):
        domain.virsh('start')
    assert domain.state() == 'shut off'


def test_more_memory_than_the_host_has(define):
    domain = define(mem=1 << 20)
    with refused("pc.ram.* is more than the host's"):
        domain.virsh('start')


def test_immediate_allocation_of_more_than_is_free(define):
    with open('/proc/meminfo') as meminfo:
        total = int(re.search(r'MemTotal: *(\d+)', meminfo.read())[1]) >> 10
    domain = define(mem=total - 16,
                    memory=backing("<allocation mode='immediate'/>"))
    with refused('pc.ram.*prealloc=on needs'):
        domain.virsh('start')


@pytest.mark.long
def test_no_permission_for_kvm(define, daemon_of):
    """QEMU runs as Debian's libvirt has it"""
    daemon = daemon_of('debian', 'user = "libvirt-qemu"\ngroup = "kvm"')
    with kvm_mode(0o666):
        domain = define(on=daemon)
    with kvm_mode(0o600):
        with refused('Permission denied|does not support virt type'):
            domain.virsh('start')
        assert domain.state() == 'shut off'
    with kvm_mode(0o666):
        domain.start()
        assert_untouched(domain)


@contextlib.contextmanager
def no_more_files(pid):
    """The kernel gives the process no file descriptor"""
    taken = {int(name) for name in os.listdir(f'/proc/{pid}/fd')}
    free = min(set(range(len(taken) + 1)) - taken)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_a_guest_memfd_is_refused_in_the_middle_of_a_hot_plug(growing):
    """Nothing is left behind, and it can be plugged later"""
    domain = growing()
    small, path = guest_has_mib(domain), domain.write_device(NEW_DIMM)
    with no_more_files(domain.get_pid()):
        with refused("memdimm0'.*Too many open files"):
            domain.virsh('attach-device', path, '--live')
    assert_untouched(domain)
    assert '<memory model' not in domain.virsh('dumpxml')
    domain.virsh('attach-device', path, '--live')
    wait_until(lambda: guest_has_mib(domain) >= small + DIMM)


@pytest.mark.long
def test_memslots_are_refused_in_the_middle_of_a_hot_plug(growing):
    """It does not run without them, and resume says why"""
    orders = '/tmp/libvirt-fail'
    domain = growing(env={'LD_PRELOAD': reachable(SHIM), 'GMEM_FAIL': orders})
    small, path = guest_has_mib(domain), domain.write_device(NEW_DIMM)
    with open(orders, 'w') as file:
        file.write('any 0 1000')
    domain.virsh('attach-device', path, '--live')
    wait_until(lambda: domain.state() == 'paused')
    with refused("memory backend 'memdimm0': KVM refuses a "):
        domain.virsh('resume')
    assert domain.state() == 'paused'
    os.unlink(orders)
    domain.virsh('resume')
    wait_until(lambda: guest_has_mib(domain) >= small + DIMM)
    domain.do('verify')


def test_a_dimm_that_the_host_has_no_memory_for(growing):
    domain = growing()
    huge = NEW_DIMM.replace(f"'MiB'>{DIMM}<", "'GiB'>16<")
    with refused("memdimm0.* is more than the host's"):
        domain.virsh('attach-device', domain.write_device(huge), '--live')
    assert_untouched(domain)
    domain.virsh('attach-device', domain.write_device(NEW_DIMM), '--live')


@pytest.fixture
def session(running):
    if 'session' not in running:
        running['session'] = Session('session')
    return running['session']


def test_a_user_without_privileges(define, session):
    """qemu:///session has all of it, if KVM is for that user"""
    with kvm_mode(0o600):
        with refused("does not support virt type 'kvm'"):
            define(on=session)
    with kvm_mode(0o666):
        domain = define(on=session).start()
        assert_untouched(domain)
        domain.virsh('reset')
        domain.wait_verified()


def filters_of(domain):
    """Whether system calls of its are filtered"""
    with open(f'/proc/{domain.get_pid()}/status') as status:
        return re.search(r'^Seccomp:\s*(\d)', status.read(), re.M)[1] == '2'


@pytest.mark.parametrize('sandbox', [0, 1])
def test_with_the_sandbox_and_without(run, daemon_of, daemon, sandbox):
    """It needs no system call that the sandbox forbids"""
    if not sandbox:
        daemon = daemon_of('free', 'seccomp_sandbox = 0')
    domain = run(on=daemon)
    assert filters_of(domain) == bool(sandbox)
    assert_untouched(domain)


@pytest.mark.long
@pytest.mark.kernel('stock')
def test_postcopy_where_the_kernel_lacks_it(writer, there):
    """The domain stays where it was"""
    domain = writer()
    process = moving(domain, there, 'postcopy')
    with refused('uffd-missing'):
        finish(process, domain, there)
    assert_stayed(domain, there)


@pytest.mark.long
def test_a_migration_that_the_other_side_refuses(writer, there):
    domain = writer()
    xml = domain.write_xml(memory=source('file'))
    process = moving(domain, there, xml=xml)
    with refused('pc.ram.*a memory-backend-file cannot be a guest_memfd'):
        finish(process, domain, there)
    assert_stayed(domain, there)
