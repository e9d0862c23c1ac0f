# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of tests/demo that runs on the KVM host, emulated or this one."""
import fcntl
import os
import re
import sys
import time

from guest import MIB, Guest, GuestError

KVM_CREATE_VM, KVM_CHECK_EXTENSION = 0xae01, 0xae03
CAP_X86_SMM, CAP_GUEST_MEMFD_FLAGS = 117, 244
TRACING = '/sys/kernel/tracing'
MEM = os.environ.get('GMEM_DEMO_MEM', '2G')
LOGS = os.environ.get('GMEM_DEMO_LOGS', os.environ.get('RESULTS', '/tmp'))


def fail(step, why):
    print(f'FAILED        {step}: {why}\n              logs: {LOGS}')
    sys.exit(1)


def passed(step, seconds, detail=''):
    print(f'ok   {seconds:5.1f} s  {step}{": " + detail if detail else ""}',
          flush=True)


def check_kvm():
    """Ends with one line if this host's KVM cannot do what is shown here."""
    try:
        kvm = os.open('/dev/kvm', os.O_RDWR)
        vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    except OSError as err:
        fail('host', f'/dev/kvm: {err.strerror}; run the demo without '
             'HOST=local')
    if fcntl.ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD_FLAGS) & 3 != 3:
        fail('host', "this kernel's guest_memfd cannot be mapped and shared: "
             'Linux 6.18 or newer is needed; run the demo without HOST=local')
    if not fcntl.ioctl(vm, KVM_CHECK_EXTENSION, CAP_X86_SMM):
        fail('host', "this host's KVM has no SMM; run the demo without "
             'HOST=local')
    os.close(vm)
    os.close(kvm)


def tell_tracing(name, text):
    """Appends, for other probes are none of our business; cannot seek."""
    control = os.open(f'{TRACING}/{name}', os.O_WRONLY | os.O_APPEND)
    try:
        os.write(control, text.encode())
    finally:
        os.close(control)


def watch_faults():
    """Counts kvm_gmem_get_pfn(), which hands KVM a page of a guest_memfd."""
    try:
        tell_tracing('kprobe_events', 'p:gmem_demo/get_pfn kvm_gmem_get_pfn\n')
        tell_tracing('events/gmem_demo/enable', '1')
        return True
    except OSError:
        return False


def unwatch_faults():
    tell_tracing('events/gmem_demo/enable', '0')
    tell_tracing('kprobe_events', '-:gmem_demo/get_pfn\n')


def faults():
    with open(f'{TRACING}/kprobe_profile') as profile:
        return int(re.search(r'get_pfn\s+(\d+)', profile.read())[1])


def kvm_statistic(pid, name):
    """Of the VM that process pid has, from debugfs; None if unreadable"""
    base = '/sys/kernel/debug/kvm'
    try:
        vm = next(entry for entry in os.listdir(base)
                  if entry.startswith(f'{pid}-'))
        with open(f'{base}/{vm}/{name}') as statistic:
            return int(statistic.read())
    except (OSError, StopIteration):
        return None


def show_mapping(pid):
    """The guest_memfd in QEMU's address space; resident MiB there"""
    with open(f'/proc/{pid}/smaps') as smaps:
        text = smaps.read()
    found = re.search(r'^(\S+ .*(?:kvm-gmem|guest_memfd).*)\n(?:.*\n)*?'
                      r'Rss: *(\d+) kB', text, re.M)
    if not found:
        fail('evidence', "QEMU's address space names no guest_memfd")
    print(f'/proc/{pid}/smaps:\n  {found[1]}\n  Rss: {found[2]} kB')
    return int(found[2]) // 1024


def show_evidence(guest, verified, watched):
    pid = guest.get_pid()
    print('\n(qemu) info guest-memfd')
    print(guest.cmd('human-monitor-command',
                    command_line='info guest-memfd'))
    resident = show_mapping(pid)
    pages = kvm_statistic(pid, 'pages_4k')
    if pages is not None:
        print(f'/sys/kernel/debug/kvm/{pid}-*/pages_4k: {pages} '
              f'({pages * 4096 // MIB} MiB in KVM\'s page tables)')
    if watched:
        count = faults()
        print(f'kprobe on kvm_gmem_get_pfn: {count} hits '
              f'({count * 4096 // MIB} MiB served by guest_memfd)')
        if count * 4096 < verified * MIB:
            fail('evidence', 'fewer pages than the guest has filled')
    else:
        print(f'{TRACING}: not writable, faults are not counted')
    block = guest.block()
    bound = block['bound-bytes'] / block['size']
    print(f'\n{bound:.2%} of the guest\'s RAM is bound; the guest filled '
          f'{verified} MiB, of which QEMU\'s own page table holds '
          f'{resident} MiB.')
    if bound < 0.99:
        fail('evidence', 'RAM is not bound')


def main():
    check_kvm()
    with open('/proc/uptime') as uptime:
        seconds = float(uptime.read().split()[0])
    if os.environ.get('GMEM_DEMO_HOST') == 'local':
        print('              host: this machine')
    else:
        passed('host boots', seconds, f'Linux {os.uname().release} under TCG')
    watched = watch_faults()
    step, guest, begin = 'guest boots', None, time.monotonic()
    try:
        guest = Guest(machine='q35,smm=on,guest-memfd=on', mem=MEM, cpus=2)
        guest.wait_for('user space', timeout=120)
        passed(step, time.monotonic() - begin,
               f'q35, SMM on, guest-memfd=on, {MEM[:-1]} {MEM[-1]}iB, 2 CPUs')
        step, begin = 'memory verified', time.monotonic()
        verified, whole = guest.wait_verified(timeout=300)
        passed(step, time.monotonic() - begin,
               f'{verified} of {whole} MiB filled and read back')
        step = 'evidence'
        show_evidence(guest, verified, watched)
    except GuestError as err:
        fail(step, err)
    finally:
        if guest:
            guest.end()
            with open(os.path.join(os.environ.get('RESULTS', LOGS),
                                   'guest.log'), 'w') as log:
                log.write(guest.report())
        if watched:
            unwatch_faults()


if __name__ == '__main__':
    main()
