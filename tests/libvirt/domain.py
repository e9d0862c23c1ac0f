# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of tests/guest that libvirt runs."""
import json
import os
import re
import tempfile
import uuid
from xml.sax.saxutils import quoteattr

from console import Console
from daemons import VirshError, reachable
from guest import QEMU, wait_until

GMEM = ['-machine', 'guest-memfd=on']
XML = '''
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{mem}</memory>
  {memory}
  <vcpu>{cpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 gmem.then={then} gmem.fill={fill}
      {append}</cmdline>
  </os>
  <features><acpi/>{features}</features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
    <feature policy='disable' name='svm'/>
    {cells}
  </cpu>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{folder}/console' append='on'/></serial>
    <serial type='unix'><source mode='bind' path='{control}'/></serial>
    <memballoon model='{balloon}'/>
    {devices}
  </devices>
  <qemu:commandline>
    {commandline}
  </qemu:commandline>
  {override}
</domain>
'''
USUAL = {'mem': 128, 'memory': '', 'cpus': 1, 'machine': 'q35', 'append': '',
         'features': '', 'cells': '', 'emulator': QEMU, 'devices': '',
         'balloon': 'none', 'override': '', 'then': 'serve', 'fill': 25}


def command_line(args, env):
    """qemu:commandline's content"""
    return '\n'.join([f'<qemu:arg value={quoteattr(arg)}/>' for arg in args] +
                     [f'<qemu:env name={quoteattr(name)} '
                      f'value={quoteattr(value)}/>'
                      for name, value in env.items()])


def backing(content):
    return f'<memoryBacking>{content}</memoryBacking>'


def source(kind):
    """of its memory; 'default': libvirt is told nothing"""
    return '' if kind == 'default' else backing(f"<source type='{kind}'/>")


class Domain(Console):
    """One of a daemon, defined at once.  args: of QEMU; the others fill in
    XML.  Where it is after a migration is the daemon's it went to."""

    def __init__(self, daemon, *args, name='guest', gmem=True, env=None,
                 template=XML, **what):
        super().__init__()
        self.daemon = daemon
        self.name = name
        self.folder = tempfile.mkdtemp(prefix=f'{name}-', dir='/tmp')
        os.chown(self.folder, daemon.user, daemon.user)
        os.chmod(self.folder, 0o755)
        self.what = {**USUAL, 'uuid': uuid.uuid4(), **what}
        self.template = template
        self.gmem = gmem
        self.memory = 'gmem' if gmem else 'anonymous'   # see migration.py
        self.args = args
        self.env = env or {}
        self.daemon.virsh('define', self.write_xml())

    def xml(self, gmem=None, **what):
        """Its XML, or as it would be otherwise"""
        gmem = self.gmem if gmem is None else gmem
        what = {'kernel': os.environ['GMEM_KERNEL'], **self.what, **what}
        for file in 'kernel', 'emulator':
            what[file] = reachable(what[file])
        return self.template.format(
            **what, name=self.name, folder=self.folder,
            initrd=reachable(os.environ['GMEM_GUEST']),
            control=f'{self.daemon.run_folder()}/{self.name}.control',
            commandline=command_line([*(GMEM if gmem else []), *self.args],
                                     self.env))

    def write_xml(self, **what):
        """A file with that"""
        path = f'{self.folder}/domain.xml'
        with open(path, 'w') as file:
            file.write(self.xml(**what))
        return path

    def with_memory(self, memory):
        """XML for when it is elsewhere, and its memory is this"""
        self.gmem, self.memory = memory == 'gmem', memory
        return self.write_xml()

    def write_device(self, text):
        path = f'{self.folder}/device.xml'
        with open(path, 'w') as file:
            file.write(text)
        return path

    def virsh(self, command, *words, **options):
        return self.daemon.virsh(command, self.name, *words, **options)

    def start(self, *words):
        """Up to when it has verified its memory and does what it is told"""
        self.virsh('start', *words)
        self.wait_verified()
        if self.what['then'] == 'serve':
            self.wait_serving()
        return self

    def state(self):
        return self.virsh('domstate')

    def console(self):
        path = f'{self.folder}/console'
        if not os.path.exists(path):
            return ''
        with open(path, errors='replace') as console:
            return console.read()

    def control_path(self):
        return self.daemon.control_path(self.name)

    def get_pid(self):
        """QEMU's, or None"""
        try:
            with open(self.daemon.pid_path(self.name)) as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def is_running(self):
        pid = self.get_pid()
        return pid is not None and os.path.exists(f'/proc/{pid}')

    def exitcode(self):
        return self.virsh('domstate', '--reason')

    def cmd(self, command, **arguments):
        """QMP through libvirt"""
        said = self.virsh('qemu-monitor-command', json.dumps(
            {'execute': command, 'arguments': arguments}))
        answer = json.loads(said)
        assert 'return' in answer, answer
        return answer['return']

    def command_line(self):
        """QEMU's, as libvirt has logged it"""
        log = self.daemon.qemu_log(self.name)
        return re.sub(r' \\\n', ' ', log).rsplit('LC_ALL=C', 1)[-1]

    def report(self):
        """For a failed test"""
        return (f'--- {self.daemon.qemu_log(self.name)}\n'
                f'--- console:\n{self.console()}'
                f'--- {self._whereabouts}')

    def end(self, *daemons):
        """Nothing of it is left with any of the daemons."""
        self.close_control()
        for daemon in daemons or [self.daemon]:
            for command in 'destroy', 'undefine':
                try:
                    daemon.virsh(command, self.name, *(
                        ['--managed-save', '--snapshots-metadata']
                        if command == 'undefine' else []))
                except VirshError:
                    pass

    def wait_gone(self):
        wait_until(lambda: not self.is_running())
