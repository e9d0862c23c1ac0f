# SPDX-License-Identifier: GPL-2.0-or-later
"""Data that goes between the guest's memory and a device: what the suites
share."""
import contextlib
import socket
import subprocess
import threading
import zlib

from guest import DISK, MIB
from memslots import bound_throughout


def checksum(data):
    """As the guest tells it"""
    return f'{len(data)} {zlib.crc32(data):08x}'


def assert_blocks_get_through(guest, device, disk):
    """The guest reads what is in the image, and the image gets what the guest
    writes, to and from buffers of its own and its page cache."""
    assert guest.do(f'sum {device} direct') == checksum(disk.read_bytes())
    written = guest.do(f'write {device} {DISK // 2} direct')
    data = disk.read_bytes()
    assert checksum(data[:DISK // 2 * MIB]) == written
    assert guest.do(f'sum {device}') == checksum(data)
    guest.do('verify')


def assert_data_gets_through(guest, device, disk):
    """The same, and all RAM stays bound"""
    with bound_throughout(guest):
        assert_blocks_get_through(guest, device, disk)


TAP = ('tap,id=net,ifname=gmem0,script=no,downscript=no,vhost=')
NIC = 'virtio-net-pci,netdev=net,romfile='


def assert_packets_get_through(guest, mib):
    """Of a guest whose network is TAP and NIC"""
    for command in 'addr add 192.168.77.1/24 dev gmem0', 'link set gmem0 up':
        subprocess.run(['ip', *command.split()], check=True)
    with echo_server('192.168.77.1') as port:
        guest.do('net eth0 192.168.77.2')
        assert guest.do(f'echo 192.168.77.1 {port} {mib}') == str(mib * MIB)
    guest.do('verify')


@contextlib.contextmanager
def echo_server(address):
    """Sends back what comes, on the port it returns"""
    server = socket.create_server((address, 0))

    def serve():
        with server.accept()[0] as connection:
            while data := connection.recv(MIB):
                connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    thread.join(timeout=60)
    server.close()
    assert not thread.is_alive()


def mappings_of_guest_memory(pid):
    with open(f'/proc/{pid}/maps') as maps:
        return maps.read().count('[kvm-gmem]')
