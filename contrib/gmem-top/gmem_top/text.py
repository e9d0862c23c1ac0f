# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws a view in characters, for any width from some 20 columns.

A line is a list of (text, tag); a tag says what the text is, for who has
colours: the kind of a piece or share, or 'title', 'dim', 'yes', 'no', ''.
Each kind has a letter of its own, so that colours say nothing more.
"""
import textwrap
import unicodedata

from . import model

LETTERS = {
    model.BOUND: '#', model.HOLE: '.',
    'requested': 'm', 'alias': 'a', 'dirty-log': 'd', 'write-tracking': 'w',
    'read-only': 'r', 'postcopy': 'c', 'refused': 'x',
    model.LOGGED: 'L', model.NOT_LOGGED: ' ',
    model.SHARED: 's', model.PRIVATE: 'P',
    model.ALLOCATED: '+', model.OUT: 'o', model.ORDINARY: '~',
    model.FREE: '-', model.THERE: '=', model.MISSING: '!'}
UNKNOWN = '?'       # the letter of a reason that a newer QEMU may have
LABEL = 9           # columns left of a strip
AVAILABLE = {True: 'yes', False: 'no', None: 'unknown'}
HINT = 'in [ ]: where in the file; in ( ): how much, not where'


def printable(text):
    """What a terminal can be given, whoever chose it"""
    return ''.join(char if char.isprintable() else '?' for char in text)


def columns(text):
    """Columns that it takes in a terminal"""
    return sum(0 if unicodedata.combining(char) else
               2 if unicodedata.east_asian_width(char) in 'WF' else 1
               for char in text)


def cut(line, width):
    """The same line, no wider than that"""
    result, left = [], width
    for text, tag in line:
        while columns(text) > left:
            text = text[:-1]
        left -= columns(text)
        if text:
            result.append((text, tag))
    return result


def letter(kind):
    return LETTERS.get(kind, UNKNOWN)


def strip_cells(pieces, width):
    """For each of so many equal parts of a file what most of it is"""
    size = sum(piece.size for piece in pieces)
    cells = [{} for _ in range(width if size else 0)]
    for start, length, kind in pieces:
        first, last = start * width, (start + length) * width
        for number in range(first // size, -(-last // size)):
            begin = number * size
            part = min(last, begin + size) - max(first, begin)
            cells[number][kind] = cells[number].get(kind, 0) + part
    return [max(cell, key=cell.get) for cell in cells]


def share_cells(shares, width):
    """So many cells, divided as the shares are; what is there has one"""
    shares = [share for share in shares if share.size][:width]
    total = sum(share.size for share in shares)
    numbers = [max(1, share.size * width // total) for share in shares]
    while numbers and sum(numbers) != width:
        largest = numbers.index(max(numbers))
        numbers[largest] += width - sum(numbers)
        numbers[largest] = max(1, numbers[largest])
    return [share.kind for share, number in zip(shares, numbers)
            for _ in range(number)]


def runs(kinds):
    """Cells of one kind side by side as one (text, tag)"""
    line = []
    for kind in kinds:
        if line and line[-1][1] == kind:
            line[-1] = line[-1][0] + letter(kind), kind
        else:
            line.append((letter(kind), kind))
    return line


def flow(items, width, indent):
    """Lines of items, each a list of (text, tag), two blanks between them"""
    lines = []
    for item in items:
        wide = sum(columns(text) for text, _ in item)
        used = sum(columns(text) for text, _ in lines[-1]) if lines else width
        if used + 2 + wide > width:
            lines.append([(' ' * indent, '')])
        else:
            lines[-1].append(('  ', ''))
        lines[-1] += item
    return lines


def paragraph(text, width, indent, tag=''):
    """Its lines, with the indent"""
    wrapped = textwrap.wrap(printable(text), max(width - indent, 1))
    return [[(' ' * indent, ''), (line, tag)] for line in wrapped]


def key(shares, width):
    """What the letters of a strip mean, and how much of each there is"""
    return flow([[(letter(share.kind), share.kind),
                  (f' {share.kind} {model.size_text(share.size)}', '')]
                 for share in shares if share.kind != model.NOT_LOGGED],
                width, LABEL)


def strip(label, cells, ends, shares, width):
    """A strip and its key"""
    head = [(f' {label:{LABEL - 1}}', 'dim'), (ends[0], '')]
    return [head + runs(cells) + [(ends[1], '')], *key(shares, width)]


def placed_strip(label, pieces, width):
    """A strip of what lies where"""
    inner = max(width - LABEL - 2, 1)
    return strip(label, strip_cells(pieces, inner), '[]',
                 model.shares_of(pieces), width) if pieces else []


def share_strip(label, shares, width):
    """A strip of how much there is"""
    inner = max(width - LABEL - 2, 1)
    return strip(label, share_cells(shares, inner), '()', shares,
                 width) if shares else []


def labelled(label, lines):
    """The same with the label left of the first line"""
    if lines:
        lines[0][0] = (f' {label:{LABEL - 1}}', 'dim')
    return lines


def mapped_lines(mapped, width):
    """Mapped slots, also those over bytes that are bound"""
    return labelled('mapped', flow(
        [[(f'{why}: {slots} slot{"s" * (slots > 1)}, {model.size_text(size)}',
           '')] for why, slots, size in mapped], width, LABEL))


def rate_text(rate):
    if rate is None:
        return '-'
    for unit, letter_of in (1e9, 'G'), (1e6, 'M'), (1e3, 'k'):
        if rate >= 100 * unit:
            return f'{rate / unit:.0f}{letter_of}/s'
    return f'{rate:.0f}/s' if rate >= 10 or not rate else f'{rate:.2g}/s'


def total_text(total):
    return str(total) if total < 10**8 else f'{total / 1e9:.1f}G'


def count_lines(counts, width):
    """Counters that have counted: what, how many now, how many in all"""
    cells = [[(f'{count.name:<20}{rate_text(count.rate):>9}'
               f'{total_text(count.total):>10}', 'live' if count.rate else '')]
             for count in counts if count.total]
    if counts and not cells:
        return [[(' all counters are 0', 'dim')]]
    lines, in_line = [], max((width + 1) // 40, 1)
    for number in range(0, len(cells), in_line):
        lines.append([part for cell in cells[number:number + in_line]
                      for part in [(' ', ''), *cell]])
    return lines


def heading(name, more, width):
    return cut([(printable(name), 'title'), (f'  {more}', '')], width)


def block_lines(block, width):
    """A RAM block"""
    return [heading(block.name, model.size_text(block.size), width),
            *flow([[(printable(text), 'dim')] for text in block.about],
                  width, 1),
            *placed_strip('slots', block.slots, width),
            *mapped_lines(block.mapped, width),
            *placed_strip('logged', block.logged, width),
            *share_strip('pages', block.pages, width),
            *share_strip('memory', block.memory, width),
            *share_strip('coming', block.missing, width),
            *flow([[(note, '')] for note in block.notes], width, 1),
            *count_lines(block.counts, width)]


def devices_lines(devices, width):
    return [heading('devices', printable(devices.names), width),
            *flow([[(text, '')] for text in devices.about], width, 1),
            *count_lines(devices.counts, width)]


def offer_lines(offer, width):
    """An interface of the host, and how it was found"""
    tag = AVAILABLE[offer.available]
    head = [(f' {printable(offer.name):<20} ', ''), (f'{tag:<8}', tag)]
    if width < 60:
        return [head, *paragraph(offer.found_by, width, 3, 'dim')]
    first, *more = paragraph(offer.found_by, width, 30, 'dim') or [[('', '')]]
    return [head + [('', ''), *first[1:]], *more]


def host_lines(host, width):
    if not host:
        return [heading('host', 'the accelerator is not KVM', width)]
    return [heading("the host's kernel", '', width),
            *(line for offer in host for line in offer_lines(offer, width))]


def top_line(name, status, width):
    """The first line: which guest, and how it is"""
    room = max(width - 10 - len(status) - 1, 4)
    name = printable(name)
    while columns(name) > room:
        name = '~' + name[2:]
    gap = ' ' * max(room - columns(name) + 1, 1)
    return cut([('gmem-top ', 'title'), (name, 'title'), (gap + ' ', 'title'),
                (status, 'title')], width)


def draw(view, name, width):
    """All of it: its lines"""
    parts = [block_lines(block, width) for block in view.blocks] or \
        [[[('no guest RAM is a guest_memfd', '')]]]
    if view.blocks:
        parts.append(paragraph(HINT, width, 1, 'dim'))
    parts += [devices_lines(one, width) for one in view.devices]
    parts.append(host_lines(view.host, width))
    result = [top_line(name, printable(view.status), width)]
    for part in parts:
        result += [[]] + part
    return [cut(line, width) for line in result]


def plain(drawn):
    """Without tags"""
    return '\n'.join(''.join(text for text, _ in line).rstrip()
                     for line in drawn) + '\n'
