# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the suites that run on the emulated host (see run)."""
import functools
import os
import re
import subprocess
import time

import pytest
from bare import Bare
from conversions import APART, TWO, in_place_kernel
from guest import ARCH, BUILD, DISK, GMEM, MIB, Guest, missing
from memslots import SHIM
from migration import Traveller
from passthrough import EDU, find, give_to

QSD = os.path.join(BUILD, 'storage-daemon/qemu-storage-daemon')


def pytest_configure(config):
    config.addinivalue_line('markers', 'long: only with check --long')
    config.addinivalue_line('markers',
                            'kernel(name...): only on these kernels of the host')
    config.addinivalue_line('markers', 'x86(reason): only on x86-64')
    config.addinivalue_line('markers', 'aarch64(reason): only there')


def on_other_kernel(item):
    marker = item.get_closest_marker('kernel')
    return marker and os.environ.get('GMEM_KERNEL_NAME') not in marker.args


def on_other_arch(item):
    return item.get_closest_marker('x86' if ARCH == 'aarch64' else 'aarch64')


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items
                 if on_other_kernel(item) or on_other_arch(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    reason = missing()
    if reason and 'GMEM_KERNEL_NAME' in os.environ:
        raise pytest.UsageError(reason)
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


def found_by_sanitizers(log):
    return re.findall(r'.*(?:runtime error:|ERROR: \w+Sanitizer).*', log)


@pytest.fixture
def boot():
    """Guest(), or another kind of it, ended with the test; what it said shows
    if the test fails"""
    guests = []

    def start(*args, kind=Guest, **kwargs):
        guest = kind(*args, **kwargs)
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.end()
        print(guest.report())
    for guest in guests:
        assert not found_by_sanitizers(guest.log())


@pytest.fixture
def boot_bare(boot):
    """A guest without an operating system (bare.py)"""
    return functools.partial(boot, kind=Bare)


@pytest.fixture
def protect(boot, shape):
    """boot() of a software-protected machine of this shape"""
    def start(*args, machine='q35', in_place='auto', **kwargs):
        wanted = 'off' if shape == APART else in_place
        return boot('-object', f'sw-protected-guest,id=s0,in-place={wanted}',
                    *args, machine=f'{machine},confidential-guest-support=s0',
                    **kwargs)
    with in_place_kernel(shape != TWO):
        yield start


@pytest.fixture
def protect_bare(protect):
    def start(*args, **kwargs):
        return protect(*args, kind=Bare, **{'mem': '64M', **kwargs})
    return start


@pytest.fixture
def preload(monkeypatch):
    """preload(library, NAME=value): for a QEMU that starts after that"""
    def use(library, **variables):
        monkeypatch.setenv('LD_PRELOAD', library)
        # a QEMU with the address sanitizer's library wants it to be first
        monkeypatch.setenv('ASAN_OPTIONS', 'verify_asan_link_order=0')
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
    return use


@pytest.fixture
def hide(preload):
    """hide(words): what fail-memslot.c is to say is not there"""
    return lambda words: preload(SHIM, GMEM_HIDE=words)


@pytest.fixture
def fail(tmp_path, preload):
    """fail(text): what fail-memslot.c is to let fail; None: nothing more"""
    path = tmp_path / 'fail'
    preload(SHIM, GMEM_FAIL=path)

    def arm(text):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
    return arm


@pytest.fixture(scope='module')
def road():
    """What the cases of a module share of a Traveller"""
    traveller = Traveller()
    yield traveller
    traveller.end()


@pytest.fixture
def traveller(road):
    """A guest that has come through all cases before, or else a new one"""
    yield road
    road.end(keep=road.guest)


@pytest.fixture
def serving(boot):
    """A guest that does what it is told (Guest.do())"""
    def start(*args, machine=GMEM, fill=25, **kwargs):
        guest = boot(*args, machine=machine, then='serve', fill=fill, **kwargs)
        guest.wait_verified()
        guest.wait_serving()
        return guest
    return start


@pytest.fixture
def growing(serving):
    """A guest that can have more memory, and takes it at once"""
    def start(*args, mem='256M,slots=4,maxmem=8G', append='', **kwargs):
        return serving(*args, mem=mem, append=f'memhp_default_state='
                       f'online_movable {append}', **kwargs)
    return start


@pytest.fixture
def disk(tmp_path):
    """An image of DISK random MiB"""
    path = tmp_path / 'disk'
    path.write_bytes(os.urandom(DISK * MIB))
    return path


@pytest.fixture(scope='module')
def edus():
    """Addresses of devices "edu" that vfio-pci has"""
    found = find(EDU)
    if len(found) < 2:
        pytest.skip('this host has no two edu devices')
    for address in found:
        give_to(address, 'vfio-pci')
    yield found
    for address in found:
        give_to(address, '')


@pytest.fixture
def edu(edus):
    return edus[0]


@pytest.fixture
def block_device(disk):
    """A block device of the host with the disk in it"""
    name = subprocess.run(['losetup', '--find', '--show', disk], check=True,
                          text=True, stdout=subprocess.PIPE).stdout.strip()
    yield name
    subprocess.run(['losetup', '--detach', name], check=True)


@pytest.fixture
def back_end(tmp_path):
    """start(command): a process that serves the socket named SOCKET in it;
    the arguments for the chardev "back" at that socket, and its process ID"""
    processes = []

    def start(*command):
        path = tmp_path / f'socket{len(processes)}'
        process = subprocess.Popen([word.replace('SOCKET', str(path))
                                    for word in command])
        processes.append(process)
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.05)
        return ['-chardev', f'socket,id=back,path={path}'], process.pid

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def storage_daemon(back_end, disk):
    """qemu-storage-daemon with the disk; arguments for a vhost-user-blk device
    that it serves, and its process ID"""
    chardev, pid = back_end(
        QSD, '--blockdev', f'driver=file,node-name=disk,filename={disk}',
        '--export', 'type=vhost-user-blk,id=export,node-name=disk,'
        'writable=on,addr.type=unix,addr.path=SOCKET')
    return [*chardev, '-device', 'vhost-user-blk-pci,chardev=back'], pid
