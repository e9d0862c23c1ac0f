# SPDX-License-Identifier: GPL-2.0-or-later
"""What one look at a guest's memory is, and the rates between two looks.

QEMU tells where memslots lie in a guest_memfd.  So these are pieces: ranges
of the file, half-open, that leave no gap.  Of pages it tells totals only, not
which ones: these are shares.  Nothing here is more than was told.
"""
import dataclasses
import typing

from . import answer

BOUND, MAPPED, HOLE = 'bound', 'mapped', 'no memslot'
SHARED, PRIVATE = 'shared', 'private'
ALLOCATED, ORDINARY, FREE = 'allocated', 'ordinary', 'not allocated'
OUT = 'allocated, out of the direct map'
MISSING, THERE = 'missing', 'there'
LOGGED, NOT_LOGGED = 'logged', 'not logged'


class Piece(typing.NamedTuple):
    """A range of the file: bound, no memslot, or why it is mapped"""
    start: int
    size: int
    kind: str


class Share(typing.NamedTuple):
    """So many bytes, wherever they are"""
    kind: str
    size: int


class Count(typing.NamedTuple):
    """A counter; rate is in events per second, or None after one look"""
    name: str
    total: int
    rate: float | None


@dataclasses.dataclass(frozen=True)
class Block:
    """A RAM block.  logged, pages, memory and missing are empty where there is
    nothing to tell; mapped is (reason, slots, bytes) of all mapped slots."""
    # pylint: disable=too-many-instance-attributes
    name: str
    size: int
    about: list
    slots: list
    logged: list
    mapped: list
    pages: list
    memory: list
    missing: list
    notes: list
    counts: list


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of the host that reach guest_memfds by the same mappings"""
    names: str
    about: list
    counts: list


class Offer(typing.NamedTuple):
    """An interface of the host's kernel; available is None if unknown"""
    name: str
    available: bool | None
    found_by: str


class Look(typing.NamedTuple):
    """What was answered at a time, in seconds of any clock"""
    when: float
    status: str
    info: dict


@dataclasses.dataclass(frozen=True)
class View:
    """All that is shown"""
    status: str
    seconds: float | None
    blocks: list
    devices: list
    host: list


def size_text(size):
    """Bytes as people read them"""
    for bits, unit in (40, 'TiB'), (30, 'GiB'), (20, 'MiB'), (10, 'KiB'):
        if size >> bits:
            number = f'{size / (1 << bits):.1f}'.removesuffix('.0')
            return f'{number} {unit}'
    return f'{size} B' if size else '0'


def time_text(nanoseconds):
    """A duration as people read it"""
    for number, unit in (10**9, 's'), (10**6, 'ms'), (10**3, 'us'):
        if nanoseconds >= number:
            return f'{nanoseconds / number:.1f} {unit}'
    return f'{nanoseconds} ns'


def rank(kind):
    """Where slots lie over the same bytes, the lowest is shown"""
    return 0 if kind == BOUND else 2 if kind == HOLE else 1


def pieces(size, ranges):
    """Pieces of a file of that size, from (start, size, kind) that may overlap
    and leave gaps: what is bound comes first, then what comes first"""
    ranges = [(start, min(start + length, size), kind)
              for start, length, kind in ranges if start < size]
    edges = sorted({0, size, *(edge for start, end, _ in ranges
                               for edge in (start, end))})
    result = []
    for start, end in zip(edges, edges[1:]):
        kinds = [kind for first, last, kind in ranges
                 if first <= start and end <= last]
        kind = min(kinds, key=rank, default=HOLE)
        if result and result[-1].kind == kind:
            start = result.pop().start
        result.append(Piece(start, end - start, kind))
    return result


def shares_of(parts):
    """Shares of pieces, in the order in which they come first"""
    sizes = {}
    for piece in parts:
        sizes[piece.kind] = sizes.get(piece.kind, 0) + piece.size
    return [Share(kind, size) for kind, size in sizes.items()]


def kind_of(slot):
    return BOUND if slot['bound'] else slot.get('why-mapped', MAPPED)


def by_space(block):
    return sorted(block['slots'], key=lambda slot: slot['as-id'])


def slot_pieces(block):
    """A byte that is seen in two address spaces shows as in the first"""
    return pieces(block['size'],
                  [(slot['offset'], slot['size'], kind_of(slot))
                   for slot in by_space(block)])


def logged_pieces(block):
    """Empty if no memslot is logged"""
    ranges = [(slot['offset'], slot['size'], LOGGED)
              for slot in block['slots'] if slot['logged']]
    return [piece if piece.kind == LOGGED else
            piece._replace(kind=NOT_LOGGED)
            for piece in pieces(block['size'], ranges)] if ranges else []


def mapped_slots(block):
    """(reason, slots, bytes): windows onto bound memory are among them"""
    found = {}
    for slot in block['slots']:
        if not slot['bound']:
            why = kind_of(slot)
            slots, size = found.get(why, (0, 0))
            found[why] = slots + 1, size + slot['size']
    return [(why, *numbers) for why, numbers in found.items()]


def page_shares(block):
    return [Share(SHARED, block['shared-bytes']),
            Share(PRIVATE, block['private-bytes'])]


def memory_shares(block):
    """Pages leave the direct map when they are first used, so all that is
    allocated is out of it, or nothing"""
    if 'allocated-bytes' not in block:
        return []
    out = 'no-direct-map' in block['flags']
    shares = [Share(OUT if out else ALLOCATED, block['allocated-bytes'])]
    if 'ordinary-bytes' in block:
        shares.append(Share(ORDINARY, block['ordinary-bytes']))
    free = block['size'] - sum(share.size for share in shares)
    return shares + [Share(FREE, free)] * (free > 0)


def missing_shares(block):
    postcopy = block['postcopy']
    if not postcopy['incoming']:
        return []
    return [Share(THERE, block['size'] - postcopy['missing-bytes']),
            Share(MISSING, postcopy['missing-bytes'])]


def postcopy_note(postcopy):
    strategy = postcopy.get('strategy', 'not on this host')
    coming = ', incoming' if postcopy['incoming'] else ''
    return f'postcopy {postcopy["policy"]} ({strategy}){coming}'


def notes_of(block):
    """Lines of text"""
    stays = {True: 'what KVM has mapped stays mapped',
             False: 'what KVM has mapped may be unmapped',
             None: 'unknown whether what KVM has mapped stays so'}
    notes = [stays[block.get('stays-mapped')],
             postcopy_note(block['postcopy'])]
    if block['counters']['pauses']:
        notes.append('longest pause '
                     f'{time_text(block["counters"]["longest-pause"])}')
    for to in 'private', 'shared':
        conversions = block.get(f'to-{to}')
        if conversions and conversions['calls']:
            notes.append(f'longest conversion to {to} '
                         f'{time_text(conversions["longest"])}')
    return notes


def totals(block):
    """All counters of a block by name"""
    found = {}
    for to in 'private', 'shared':
        conversions = block.get(f'to-{to}')
        if conversions:
            found |= {f'to {to}: {what}': conversions[what] for what in
                      ('calls', 'pages', 'retries', 'failures')}
    postcopy, slots = block['postcopy'], block['counters']
    return found | {
        'userfault exits': postcopy['exits'],
        'userfault requests': postcopy['requests'],
        'pages placed': postcopy['placed'],
        'pauses': slots['pauses'], 'slots bound': slots['binds'],
        'slots unbound': slots['unbinds'], 'slots mapped': slots['maps'],
        'slots unmapped': slots['unmaps'], 'slots refused': slots['refused']}


def counts_of(now, before, seconds):
    """A counter that has gone down began anew, and has no rate yet"""
    return [Count(name, total,
                  (total - before[name]) / seconds
                  if seconds and 0 <= before.get(name, -1) <= total else None)
            for name, total in now.items()]


def block_of(block, before, seconds):
    return Block(
        block['id'], block['size'],
        ([f'memdev {block["memdev"]}'] if 'memdev' in block else []) +
        [f'backing {block["backing"]}', f'slots={block["slots-policy"]}',
         f'dirty-log={block["dirty-log-policy"]}',
         'flags ' + (' '.join(block['flags']) or 'none')],
        slot_pieces(block), logged_pieces(block), mapped_slots(block),
        page_shares(block), memory_shares(block), missing_shares(block),
        notes_of(block),
        counts_of(totals(block), totals(before) if before else {}, seconds))


def key_of_block(block):
    return block['id'], block.get('memdev')


def key_of_devices(container):
    return ' '.join(container['devices'])


def revocations(container):
    """None are counted behind an IOMMU of the guest's"""
    if not container or 'revocations' not in container:
        return {}
    return {'revocations': container['revocations']}


def devices_of(container, before, seconds):
    return Devices(
        key_of_devices(container),
        ['by file' if container['by-file'] else 'by address',
         f'{container["mappings"]} mappings',
         f'{size_text(container["mapped-bytes"])} mapped',
         f'{size_text(container["pinned-bytes"])} pinned'],
        counts_of(revocations(container), revocations(before), seconds))


def view(look, before=None):
    """What there is to show of a look, with rates since the look before"""
    answer.check(look.info)
    seconds = look.when - before.when if before else None
    old = before.info if before else {'blocks': [], 'containers': []}
    old_blocks = {key_of_block(block): block for block in old['blocks']}
    old_devices = {key_of_devices(one): one for one in old['containers']}
    return View(
        look.status, seconds,
        [block_of(block, old_blocks.get(key_of_block(block)), seconds)
         for block in look.info['blocks']],
        [devices_of(one, old_devices.get(key_of_devices(one)), seconds)
         for one in look.info['containers']],
        [Offer(one['name'], one.get('available'), one['found-by'])
         for one in look.info['host']])


def as_json(look, shown):
    """The answer of query-guest-memfd, and with it what was found out"""
    blocks = [block | {
        'pieces': [piece._asdict() for piece in seen.slots],
        'rates': {count.name: count.rate for count in seen.counts}}
        for block, seen in zip(look.info['blocks'], shown.blocks)]
    containers = [container | {
        'rates': {count.name: count.rate for count in seen.counts}}
        for container, seen in zip(look.info['containers'], shown.devices)]
    return {'status': look.status, 'seconds': shown.seconds,
            **look.info, 'blocks': blocks, 'containers': containers}
