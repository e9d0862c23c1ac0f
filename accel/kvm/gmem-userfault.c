/*
 * Pages of a guest_memfd that are not there yet, as KVM and its vCPUs see them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/notify.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "gmem/uapi.h"
#include "gmem/userfault.h"
#include "trace/trace-gmem_accel_kvm.h"

/* Of a thread that has no eventfd to wait with. */
#define NAP_NS (1 * SCALE_MS)

/* A copy: bits of @pages pages, of which @first is the first bit of a long */
typedef struct Shifted {
    struct rcu_head rcu;
    QLIST_ENTRY(Shifted) next;
    uint64_t first;
    uint64_t pages;
    bool used;                  /* a memslot has it in KVM.  BQL. */
    unsigned long bitmap[];     /* read by KVM */
} Shifted;

struct GmemUserfault {
    struct rcu_head rcu;
    uint64_t pages;             /* those behind them are there */
    uint64_t size;              /* in bits */
    unsigned slots;             /* that have it in KVM.  BQL. */
    QLIST_HEAD(, Shifted) shifted;     /* RCU */
    unsigned long bitmap[];     /* read by KVM */
};

/* A vCPU that waits for a page; it lies on the stack of its thread. */
typedef struct Waiter {
    void *page;
    int eventfd;
    bool placed;
    QLIST_ENTRY(Waiter) next;
} Waiter;

typedef struct Request {
    GmemUserfaultRequest wanted;
    QSIMPLEQ_ENTRY(Request) next;
} Request;

static struct {
    QemuMutex lock;             /* of all members */
    QLIST_HEAD(, Waiter) waiters;
    unsigned waiting;           /* read without the lock, too */
    QSIMPLEQ_HEAD(, Request) requests;
    void (*wake)(void);
    unsigned session;           /* counts calls of gmem_userfault_open() */
} faults = {
    .requests = QSIMPLEQ_HEAD_INITIALIZER(faults.requests),
};

/* What this thread waits with, and what it has asked for last. */
static __thread struct {
    Notifier at_exit;
    int eventfd;
    bool has_eventfd;
    void *page;
    unsigned session;
} own;

static void __attribute__((constructor)) init_lock(void)
{
    qemu_mutex_init(&faults.lock);
}

static uint64_t page_size(void)
{
    return qemu_real_host_page_size();
}

/* Set the bits of all host pages of which a target page is not there. */
static void find_missing(struct GmemUserfault *userfault,
                         const unsigned long *received)
{
    uint64_t ratio = page_size() / qemu_target_page_size();

    if (ratio == 1) {
        bitmap_complement(userfault->bitmap, received, userfault->pages);
        return;
    }
    for (uint64_t i = 0; i < userfault->pages; i++) {
        if (!test_bit(i * ratio, received)) {
            set_bit(i, userfault->bitmap);
        }
    }
}

bool gmem_userfault_begin(GuestMemfd *gmem, const unsigned long *received,
                          uint64_t size)
{
    /* KVM looks up bits of all of a memslot, which may be larger than @size */
    uint64_t all = DIV_ROUND_UP(gmem->block->max_length, page_size());
    struct GmemUserfault *userfault;

    assert(!gmem->postcopy.userfault);
    userfault = g_try_malloc0(sizeof(*userfault) +
                              BITS_TO_LONGS(all) * sizeof(long));
    if (!userfault) {
        return false;
    }
    userfault->pages = size / page_size();
    userfault->size = all;
    find_missing(userfault, received);
    qatomic_rcu_set(&gmem->postcopy.userfault, userfault);
    trace_gmem_userfault_begin(gmem->id, userfault->pages,
                               bitmap_count_one(userfault->bitmap,
                                                userfault->pages));
    return true;
}

static void free_unused(struct GmemUserfault *userfault)
{
    Shifted *shifted, *next;

    QLIST_FOREACH_SAFE(shifted, &userfault->shifted, next, next) {
        if (!shifted->used) {
            QLIST_REMOVE_RCU(shifted, next);
            g_free_rcu(shifted, rcu);
        }
    }
}

void gmem_userfault_end(GuestMemfd *gmem)
{
    struct GmemUserfault *userfault = gmem->postcopy.userfault;

    if (!userfault || userfault->slots) {
        return;
    }
    free_unused(userfault);
    trace_gmem_userfault_end(gmem->id);
    qatomic_rcu_set(&gmem->postcopy.userfault, NULL);
    g_free_rcu(userfault, rcu);
}

/* As many bits as a long has, from that of @page on, which is in the bitmap */
static unsigned long bits_from(const struct GmemUserfault *userfault,
                               uint64_t page)
{
    const unsigned long *word = &userfault->bitmap[BIT_WORD(page)];
    unsigned shift = page % BITS_PER_LONG;
    unsigned long bits = qatomic_read(word) >> shift;

    if (shift && BIT_WORD(page) + 1 < BITS_TO_LONGS(userfault->size)) {
        bits |= qatomic_read(word + 1) << (BITS_PER_LONG - shift);
    }
    return bits;
}

/*
 * All its bits are set before it is in the list, and those of pages that are
 * there are cleared once it is.  Who places a page clears the bit in the bitmap
 * before he reads the list: if it was not there, we read the cleared bit.
 */
static Shifted *add_shifted(struct GmemUserfault *userfault, uint64_t first,
                            uint64_t pages)
{
    Shifted *shifted = g_try_malloc(sizeof(*shifted) +
                                    BITS_TO_LONGS(pages) * sizeof(long));

    if (!shifted) {
        return NULL;
    }
    shifted->first = first;
    shifted->pages = pages;
    shifted->used = false;
    bitmap_fill(shifted->bitmap, pages);
    QLIST_INSERT_HEAD_RCU(&userfault->shifted, shifted, next);
    smp_mb();                   /* pairs with gmem_userfault_placed() */
    for (uint64_t i = 0; i < BITS_TO_LONGS(pages); i++) {
        qatomic_and(&shifted->bitmap[i],
                    bits_from(userfault, first + i * BITS_PER_LONG));
    }
    return shifted;
}

static Shifted *find_shifted(struct GmemUserfault *userfault, uint64_t first,
                             uint64_t pages)
{
    Shifted *shifted;

    QLIST_FOREACH(shifted, &userfault->shifted, next) {
        if (shifted->first == first && shifted->pages == pages) {
            return shifted;
        }
    }
    return NULL;
}

void *gmem_userfault_bitmap(const GuestMemfd *gmem, uint64_t offset,
                            uint64_t size)
{
    struct GmemUserfault *userfault = gmem->postcopy.userfault;
    uint64_t first = offset / page_size(), pages = size / page_size();
    Shifted *shifted;

    if (first % BITS_PER_LONG == 0) {
        return &userfault->bitmap[first / BITS_PER_LONG];
    }
    shifted = find_shifted(userfault, first, pages);
    if (!shifted) {
        /* not more than there are memslots, whatever the guest does */
        free_unused(userfault);
        shifted = add_shifted(userfault, first, pages);
    }
    return shifted ? shifted->bitmap : NULL;
}

void gmem_userfault_slot_added(GuestMemfd *gmem, uint64_t offset,
                               uint64_t size)
{
    struct GmemUserfault *userfault = gmem->postcopy.userfault;
    Shifted *shifted = find_shifted(userfault, offset / page_size(),
                                    size / page_size());

    userfault->slots++;
    if (shifted) {
        shifted->used = true;
    }
}

void gmem_userfault_slot_removed(GuestMemfd *gmem, uint64_t offset)
{
    struct GmemUserfault *userfault = gmem->postcopy.userfault;
    Shifted *shifted;

    /* one page is bound in one memslot only */
    QLIST_FOREACH(shifted, &userfault->shifted, next) {
        if (shifted->first == offset / page_size()) {
            shifted->used = false;
        }
    }
    userfault->slots--;
    if (!gmem->postcopy.incoming) {
        gmem_userfault_end(gmem);       /* it had to stay up to now */
    }
}

/* The inner lock is held. */
static void wake_waiter(Waiter *waiter)
{
    uint64_t one = 1;

    QLIST_REMOVE(waiter, next);
    qatomic_set(&faults.waiting, faults.waiting - 1);
    waiter->placed = true;
    if (waiter->eventfd >= 0 &&
        RETRY_ON_EINTR(write(waiter->eventfd, &one, sizeof(one))) < 0) {
        /* a counter that cannot overflow */
        trace_gmem_userfault_lost_wakeup(waiter->page, errno);
    }
}

static void wake_waiters(void *start, uint64_t size)
{
    Waiter *waiter, *following;

    QEMU_LOCK_GUARD(&faults.lock);
    QLIST_FOREACH_SAFE(waiter, &faults.waiters, next, following) {
        if (waiter->page >= start && waiter->page - start < size) {
            wake_waiter(waiter);
        }
    }
}

/* Pages @page to @end are there; all of them are in the bitmap itself. */
static void clear_shifted(const struct GmemUserfault *userfault, uint64_t page,
                          uint64_t end)
{
    Shifted *shifted;

    QLIST_FOREACH_RCU(shifted, &userfault->shifted, next) {
        uint64_t first = shifted->first;

        for (uint64_t i = MAX(page, first);
             i < MIN(end, first + shifted->pages); i++) {
            clear_bit_atomic(i - first, shifted->bitmap);
        }
    }
}

void gmem_userfault_placed(GuestMemfd *gmem, uint64_t offset, uint64_t size)
{
    struct GmemUserfault *userfault;
    uint64_t page = offset / page_size(), end = (offset + size) / page_size();
    uint64_t first = page;

    RCU_READ_LOCK_GUARD();
    userfault = qatomic_rcu_read(&gmem->postcopy.userfault);
    if (!userfault) {
        return;
    }
    for (; page < MIN(end, userfault->pages); page++) {
        /* a release at the least: KVM must find the page */
        clear_bit_atomic(page, userfault->bitmap);
    }
    smp_mb__after_rmw();
    clear_shifted(userfault, first, end);
    if (qatomic_read(&faults.waiting)) {
        wake_waiters(gmem->block->host + offset, size);
    }
}

void gmem_userfault_open(void (*wake)(void))
{
    QEMU_LOCK_GUARD(&faults.lock);
    faults.wake = wake;
    faults.session++;
}

static Request *next_request(void)
{
    Request *request = QSIMPLEQ_FIRST(&faults.requests);

    if (request) {
        QSIMPLEQ_REMOVE_HEAD(&faults.requests, next);
    }
    return request;
}

void gmem_userfault_close(void)
{
    Request *request;
    Waiter *waiter;

    QEMU_LOCK_GUARD(&faults.lock);
    faults.wake = NULL;
    while ((request = next_request())) {
        g_free(request);
    }
    while ((waiter = QLIST_FIRST(&faults.waiters))) {
        wake_waiter(waiter);
    }
}

bool gmem_userfault_next(GmemUserfaultRequest *wanted)
{
    g_autofree Request *request = NULL;

    QEMU_LOCK_GUARD(&faults.lock);
    request = next_request();
    if (request) {
        *wanted = request->wanted;
    }
    return request;
}

/*
 * Ask for @page, unless this thread has done so.  A request that is lost on
 * the way is made again by whoever recovers the connection.
 */
static void ask_for(void *page, uint32_t thread_id)
{
    bool was_empty = QSIMPLEQ_EMPTY(&faults.requests);
    Request *request;

    if (own.page == page && own.session == faults.session) {
        return;
    }
    own.page = page;
    own.session = faults.session;
    request = g_new(Request, 1);
    request->wanted.page = page;
    request->wanted.thread_id = thread_id;
    QSIMPLEQ_INSERT_TAIL(&faults.requests, request, next);
    if (was_empty) {
        faults.wake();
    }
}

/*
 * Wait for a page and ask for it, unless it is there.  RCU is held, so that
 * @userfault is what all bits are cleared in.
 */
static bool begin_wait(Waiter *waiter, CPUState *cpu,
                       const struct GmemUserfault *userfault, uint64_t page)
{
    QEMU_LOCK_GUARD(&faults.lock);
    if (!faults.wake) {
        return false;           /* it is over */
    }
    QLIST_INSERT_HEAD(&faults.waiters, waiter, next);
    qatomic_set(&faults.waiting, faults.waiting + 1);
    smp_mb();                   /* pairs with gmem_userfault_placed() */
    if (!test_bit(page, userfault->bitmap)) {
        QLIST_REMOVE(waiter, next);
        qatomic_set(&faults.waiting, faults.waiting - 1);
        return false;
    }
    ask_for(waiter->page, cpu->thread_id);
    return true;
}

static void end_wait(Waiter *waiter)
{
    uint64_t one;

    QEMU_LOCK_GUARD(&faults.lock);
    if (!waiter->placed) {
        QLIST_REMOVE(waiter, next);
        qatomic_set(&faults.waiting, faults.waiting - 1);
    } else if (waiter->eventfd >= 0) {
        (void)!read(waiter->eventfd, &one, sizeof(one));
    }
}

static void close_eventfd(Notifier *notifier, void *data)
{
    close(own.eventfd);
}

/* The eventfd of this thread, or -1 */
static int own_eventfd(void)
{
    if (!own.has_eventfd) {
        own.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (own.eventfd < 0) {
            return -1;
        }
        own.has_eventfd = true;
        own.at_exit.notify = close_eventfd;
        qemu_thread_atexit_add(&own.at_exit);
    }
    return own.eventfd;
}

/*
 * Wait for the page, or for a kick: its signal has KVM_RUN return at once.
 * It is held back, so that it comes before the last look or ends the wait.
 */
static void wait_for_page(const Waiter *waiter, const struct kvm_run *run)
{
    struct pollfd fd = { .fd = waiter->eventfd, .events = POLLIN };
    struct timespec nap = { .tv_nsec = NAP_NS };
    sigset_t kick, usual;

    sigemptyset(&kick);
    sigaddset(&kick, SIG_IPI);
    pthread_sigmask(SIG_BLOCK, &kick, &usual);
    if (!qatomic_read(&run->immediate_exit)) {
        ppoll(&fd, 1, fd.fd < 0 ? &nap : NULL, &usual);
    }
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
}

/* If what the guest sees at @gpa is a page that is not there, wait for it. */
static bool begin_wait_at(Waiter *waiter, CPUState *cpu, uint64_t gpa)
{
    struct GmemUserfault *userfault;
    hwaddr offset, size = 1;
    GuestMemfd *gmem;
    MemoryRegion *mr;
    uint64_t page;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, gpa, &offset, &size,
                                 false, MEMTXATTRS_UNSPECIFIED);
    gmem = gmem_from_region(mr);
    userfault = gmem ? qatomic_rcu_read(&gmem->postcopy.userfault) : NULL;
    if (!userfault) {
        return false;           /* the memory map has just changed */
    }
    page = offset / page_size();
    if (page >= userfault->pages) {
        return false;
    }
    stat64_add(&gmem->postcopy.exits, 1);
    waiter->page = gmem->block->host + page * page_size();
    trace_gmem_userfault_exit(cpu->cpu_index, gpa, gmem->id, offset);
    return begin_wait(waiter, cpu, userfault, page);
}

bool gmem_userfault_exit(CPUState *cpu, const struct kvm_run *run)
{
    Waiter waiter = { .eventfd = -1 };

    if (run->memory_fault.flags != KVM_MEMORY_EXIT_FLAG_USERFAULT) {
        return false;
    }
    waiter.eventfd = own_eventfd();
    if (begin_wait_at(&waiter, cpu, run->memory_fault.gpa)) {
        wait_for_page(&waiter, run);
        end_wait(&waiter);
        trace_gmem_userfault_waited(cpu->cpu_index, waiter.placed);
    }
    return true;
}
