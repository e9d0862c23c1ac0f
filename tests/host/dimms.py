# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is plugged into a guest that runs."""
from guest import MIB, wait_until

DIMM = 128
HOTPLUGGED = 4 << 30     # the first address of such memory


def guest_has_mib(guest, path='/proc/meminfo'):
    return int(guest.do(f'show {path} MemTotal:')) >> 10


def add_backend(guest, name, qom_type='memory-backend-guest-memfd', **props):
    guest.cmd('object-add', {'qom-type': qom_type, 'id': name,
                             **{'size': DIMM * MIB, **props}})


def add_dimm(guest, name, **props):
    guest.cmd('device_add', {'driver': 'pc-dimm', 'id': f'{name}-dimm',
                             'memdev': name, **props})


def unplug_dimm(guest, name):
    """Its backend stays"""
    guest.cmd('device_del', {'id': f'{name}-dimm'})
    guest.event_wait('DEVICE_DELETED', timeout=60,
                     match={'data': {'device': f'{name}-dimm'}})


def remove_dimm(guest, name):
    unplug_dimm(guest, name)
    guest.cmd('object-del', {'id': name})


def block_of(guest, memdev):
    return next((block for block in guest.blocks()
                 if block['memdev'] == memdev), None)


def resize(guest, mib):
    """The virtio-mem device "more" """
    path = '/machine/peripheral/more'
    guest.cmd('qom-set', path=path, property='requested-size',
              value=mib * MIB)
    wait_until(lambda: guest.cmd('qom-get', path=path,
                                 property='size') == mib * MIB)


def virtio_mem(options):
    return ['-object', 'memory-backend-guest-memfd,id=vm,size=2G', '-device',
            f'virtio-mem-pci,id=more,memdev=vm,requested-size=0,{options}']
