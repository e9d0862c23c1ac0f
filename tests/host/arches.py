# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between the architectures that the emulated host, its kernel
and its guests can have."""
import typing


class Arch(typing.NamedTuple):
    """One of them"""
    host: tuple         # arguments of the emulator: a host that has KVM
    host_cpu: str       # its -cpu
    append: str         # for the command line of the host's kernel
    console: str        # its name in Linux, in host and guest
    board: str          # a guest's -machine
    cpu: str            # its -cpu
    ram: str            # the name of the board's RAM block
    ram_start: int      # where that is
    kernel: str         # ARCH of tests/kernel/build and tests/guest/build


ARCHES = {
    'x86_64': Arch(
        ('-machine', 'q35,kernel-irqchip=split',
         '-device', 'intel-iommu,intremap=on'),
        'max,+svm,la57=off', 'no_timer_check', 'ttyS0', 'q35', 'qemu64,-svm', 'pc.ram', 0,
        'x86_64'),
    # -cpu max would be several times slower: pointer authentication
    'aarch64': Arch(
        ('-machine', 'virt,virtualization=on,gic-version=3,iommu=smmuv3',),
        'neoverse-n1', '', 'ttyAMA0', 'virt,gic-version=3', 'host', 'mach-virt.ram',
        1 << 30, 'arm64'),
}
