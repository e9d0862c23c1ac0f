# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's daemons, unmodified, each pair of libvirtd and virtlogd on what is
a host of its own to them: own folders, host name and UUID.  The network, /dev
and /tmp are the emulated host's, so two of them migrate to each other."""
import os
import shutil
import subprocess
import tempfile

from guest import wait_until

# What the daemons of a host write to
FOLDERS = ['/var/lib/libvirt', '/var/cache/libvirt', '/var/log/libvirt',
           '/run/libvirt']
# The host's name is the same for all of them, but not the full one, which
# libvirt looks up and goes by
HOSTNAME = 'gmem-host'
HOSTS = f'127.0.0.1 localhost\n127.0.1.1 {{name}}.example {HOSTNAME}\n'
# What libvirt has found out about an emulator, which takes a while.  It knows
# by itself when that is no longer true.
CAPABILITIES = '/tmp/libvirt-cache'
# Domains of two daemons may have the same name and number
CGROUPS = '''
cd /sys/fs/cgroup
for name in $(cat cgroup.controllers); do
    echo +$name > cgroup.subtree_control
done
mkdir -p {name}
mount --bind {name} /sys/fs/cgroup
cd /
'''
# The host has no IPv6
QEMU_CONF = 'migration_address = "127.0.0.1"\n'
ROOT = 'user = "root"\ngroup = "root"\n'
# Where everybody can read
FILES = '/tmp/libvirt-files'
PROGRAMS = 'libvirtd', 'virtlogd', 'virsh'
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
# libvirtd ends when it is told, and virtlogd with it, in whatever way it ends.
BOTH = '''
virtlogd {virtlogd} & log=$!
libvirtd {libvirtd} & daemon=$!
trap 'kill $daemon' TERM
wait $daemon || true
wait $daemon || true
kill $log
wait $log
'''


def missing():
    """The program that is not installed, or None"""
    return next((name for name in PROGRAMS
                 if not shutil.which(name, path=PATH)), None)


def for_everybody(path):
    """Whether its folders let everybody through"""
    folder = os.path.dirname(path)
    return path == folder or (os.stat(folder).st_mode & 1 and
                              for_everybody(folder))


def reachable(path):
    """The file, or a copy of it, for a QEMU without privileges"""
    if for_everybody(os.path.realpath(path)):
        return path
    copy = f'{FILES}/{path.replace("/", "_")}/{os.path.basename(path)}'
    if not os.path.exists(copy):
        os.makedirs(os.path.dirname(copy))
        shutil.copy2(path, copy)
    return copy


class VirshError(Exception):
    """What virsh says when it fails"""

    def lines(self):
        return [line for line in str(self).splitlines() if line]


class Daemon:
    """One such pair, started at once.  settings: lines of qemu.conf"""

    user = 0
    prefix = ()

    def __init__(self, name, settings=''):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix=f'libvirt-{name}-', dir='/tmp')
        os.chmod(self.folder, 0o755)
        self.log_path = f'{self.folder}/log'
        self.socket, self.uri = self.address()
        self.prepare(settings)
        with open(self.log_path, 'a') as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        wait_until(lambda: os.path.exists(self.socket) or self.has_ended())

    def address(self):
        """(socket, URI)"""
        socket = f'{self.folder}/socket/libvirt-sock'
        return socket, f'qemu+unix:///system?socket={socket}'

    def private(self, path):
        """Where a file is that the daemon sees at this path"""
        if path.startswith('/var/cache/libvirt'):
            return path.replace('/var/cache/libvirt', CAPABILITIES, 1)
        return f'{self.folder}{path}'

    def prepare(self, settings):
        os.makedirs('/run/libvirt', exist_ok=True)
        for path in FOLDERS:
            os.makedirs(self.private(path), exist_ok=True)
        shutil.copytree('/etc/libvirt', self.private('/etc/libvirt'))
        with open(self.private('/etc/hosts'), 'w') as hosts:
            hosts.write(HOSTS.format(name=self.name))
        os.mkdir(os.path.dirname(self.socket))
        uuid = os.urandom(16).hex()
        self.configure('libvirtd', f'host_uuid = "{uuid}"\n'
                       f'unix_sock_dir = "{os.path.dirname(self.socket)}"\n')
        self.configure('qemu', QEMU_CONF + (
            settings if 'user =' in settings else ROOT + settings))

    def configure(self, which, text):
        with open(self.private(f'/etc/libvirt/{which}.conf'), 'a') as conf:
            conf.write(text)

    def command(self):
        mounts = CGROUPS.format(name=self.name) + ''.join(
            f'mount --bind {self.private(path)} {path}\n'
            for path in [*FOLDERS, '/etc/libvirt', '/etc/hosts'])
        both = BOTH.format(virtlogd='-p /run/libvirt/virtlogd.pid',
                           libvirtd='-p /run/libvirt/libvirtd.pid')
        return ['unshare', '--mount', 'sh', '-ec', f'PATH={PATH}\n'
                f'echo {HOSTNAME} > /proc/sys/kernel/hostname\n'
                f'{mounts}{both}']

    def run_folder(self):
        """Where it has its sockets, as it sees it"""
        return '/run/libvirt'

    def control_path(self, name):
        """Of a domain's second serial port, as we see it"""
        return self.private(f'{self.run_folder()}/{name}.control')

    def pid_path(self, name):
        return self.private(f'/run/libvirt/qemu/{name}.pid')

    def qemu_log_path(self, name):
        return self.private(f'/var/log/libvirt/qemu/{name}.log')

    def has_ended(self):
        return self.process.poll() is not None

    def virsh_command(self, words):
        return [*self.prefix, 'virsh', '-q', '-c', self.uri, *words]

    def virsh(self, *words):
        """What it says; VirshError if it says that it failed"""
        run = subprocess.run(self.virsh_command(words), text=True, check=False,
                             stdin=subprocess.DEVNULL, timeout=300,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if run.returncode:
            raise VirshError(run.stderr.strip())
        return run.stdout.strip()

    def begin(self, *words):
        """The same, but what it does takes its time: the process"""
        return subprocess.Popen(self.virsh_command(words), text=True,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def domains(self):
        """The names of those that run"""
        return self.virsh('list', '--name').split()

    def log(self):
        with open(self.log_path, errors='replace') as log:
            return log.read()

    def qemu_log(self, name):
        path = self.qemu_log_path(name)
        if not os.path.exists(path):
            return ''
        with open(path, errors='replace') as log:
            return log.read()

    def end(self):
        """(Domains go on running: Domain.end())"""
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


class Session(Daemon):
    """The pair of a user without privileges: qemu:///session"""

    user = 65534

    def address(self):
        self.prefix = [
            'setpriv', f'--reuid={self.user}', f'--regid={self.user}',
            '--clear-groups', 'env', '-i', f'PATH={PATH}',
            f'HOME={self.folder}/home', f'XDG_RUNTIME_DIR={self.folder}/run']
        return f'{self.folder}/run/libvirt/libvirt-sock', 'qemu:///session'

    def prepare(self, settings):
        for name in 'home', 'run', 'home/.cache/libvirt/qemu/log':
            os.makedirs(f'{self.folder}/{name}', mode=0o755)
        for path, _, _ in os.walk(self.folder):
            os.chown(path, self.user, self.user)
        os.chmod(f'{self.folder}/run', 0o700)

    def command(self):
        both = BOTH.format(virtlogd='', libvirtd='')
        return [*self.prefix, 'sh', '-ec', both]

    def run_folder(self):
        return f'{self.folder}/run'

    def control_path(self, name):
        return f'{self.run_folder()}/{name}.control'

    def pid_path(self, name):
        return f'{self.folder}/run/libvirt/qemu/run/{name}.pid'

    def qemu_log_path(self, name):
        return f'{self.folder}/home/.cache/libvirt/qemu/log/{name}.log'
