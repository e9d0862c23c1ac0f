# SPDX-License-Identifier: GPL-2.0-or-later
"""What a source sends after the guest was let go, page by page."""
import struct

COMMAND, PACKAGED = 8, 7
PART, END, FOOTER, EOF = 2, 3, 0x7e, 0
ZERO, PAGE, EOS, CONTINUE = 2, 8, 0x10, 0x20
PAGE_SIZE = 4096
START = struct.pack('>BHH', COMMAND, PACKAGED, 4)


class Stream:
    """Goes through what is sent: change(block, address, flags, record) says
    what is sent instead of a page's record.  For Wire(edit=)."""

    def __init__(self, change):
        self.change = change
        self.kept = b''
        self.step = self.before
        self.block = ''

    def __call__(self, data):
        self.kept += data
        out = []
        while self.kept:
            taken = self.step()
            if taken is None:
                break
            out.append(taken)
        return b''.join(out)

    def take(self, size):
        """None: there is not that much"""
        if len(self.kept) < size:
            return None
        taken, self.kept = self.kept[:size], self.kept[size:]
        return taken

    def before(self):
        """Up to the devices' state, whose size comes first"""
        at = self.kept.find(START)
        if at < 0:
            tail = next((n for n in range(len(START) - 1, 0, -1)
                         if self.kept.endswith(START[:n])), 0)
            return self.take(len(self.kept) - tail) or None
        size = at + len(START) + 4
        if len(self.kept) < size:
            return self.take(at) or None
        left = struct.unpack('>I', self.kept[size - 4:size])[0]
        self.step = lambda: self.package(left)
        return self.take(size)

    def package(self, left):
        if left == 0:
            self.step = self.section
            return b''
        taken = self.take(min(left, len(self.kept)))
        self.step = lambda: self.package(left - len(taken))
        return taken

    def section(self):
        kind = self.kept[0]
        if kind in (PART, END):
            taken = self.take(5)
            if taken:
                self.step = self.page
            return taken
        if kind == COMMAND and len(self.kept) >= 5:
            return self.take(5 + struct.unpack('>H', self.kept[3:5])[0])
        if kind == FOOTER:
            return self.take(5)
        assert kind in (COMMAND, EOF), f'section {kind}'
        return self.take(1) if kind == EOF else None

    def page(self):
        if len(self.kept) < 8:
            return None
        head = struct.unpack('>Q', self.kept[:8])[0]
        flags, size = head % PAGE_SIZE, 8
        if flags & EOS:
            self.step = self.section
            return self.take(8)
        if not flags & CONTINUE:
            if len(self.kept) == size:
                return None
            size += 1 + self.kept[8]
        record = self.take(size + (PAGE_SIZE if flags & PAGE else 1))
        if record is None:
            return None
        if not flags & CONTINUE:
            self.block = record[9:size].decode()
        return self.change(self.block, head - flags, flags, record)


def urgent(change):
    """The same of the preempt channel, which begins with pages"""
    stream = Stream(change)
    stream.step = stream.page
    return stream


def once(change, ready):
    """For the first page of pc.ram that is not zero and does not name it, once
    ready, a threading.Event, is set"""
    done = []

    def instead(block, address, flags, record):
        if (done or not ready.is_set() or block != 'pc.ram' or
                not flags & PAGE or not flags & CONTINUE):
            return record
        done.append(address)
        return change(address, flags, record)
    return Stream(instead)


def twice(_address, _flags, record):
    return record + record


def beyond(address, flags, record):
    return struct.pack('>Q', (address | 1 << 40) + flags) + record[8:]


def never(_address, _flags, _record):
    return b''
