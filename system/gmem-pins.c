/*
 * Memory that the kernel cannot pin
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "gmem/pins.h"

typedef struct Unpinnable {
    struct rcu_head rcu;
    uintptr_t start;
    uint64_t size;
    char *id;
    QLIST_ENTRY(Unpinnable) next;
} Unpinnable;

unsigned gmem_unpinnable_blocks;
static QLIST_HEAD(, Unpinnable) unpinnable =
    QLIST_HEAD_INITIALIZER(unpinnable);

void gmem_unpinnable_add(const void *host, uint64_t size, const char *id)
{
    Unpinnable *memory = g_new0(Unpinnable, 1);

    memory->start = (uintptr_t)host;
    memory->size = size;
    memory->id = g_strdup(id);
    QLIST_INSERT_HEAD_RCU(&unpinnable, memory, next);
    qatomic_inc(&gmem_unpinnable_blocks);
}

static void unpinnable_free(Unpinnable *memory)
{
    g_free(memory->id);
    g_free(memory);
}

void gmem_unpinnable_del(const void *host)
{
    Unpinnable *memory;

    QLIST_FOREACH(memory, &unpinnable, next) {
        if (memory->start == (uintptr_t)host) {
            QLIST_REMOVE_RCU(memory, next);
            qatomic_dec(&gmem_unpinnable_blocks);
            call_rcu(memory, unpinnable_free, rcu);
            return;
        }
    }
}

bool gmem_unpinnable_any(void)
{
    return qatomic_read(&gmem_unpinnable_blocks) > 0;
}

static bool meets_unpinnable(uintptr_t start, size_t size)
{
    Unpinnable *memory;

    QLIST_FOREACH_RCU(memory, &unpinnable, next) {
        if (start < memory->start + memory->size &&
            memory->start < start + size) {
            return true;
        }
    }
    return false;
}

bool gmem_iov_meets_unpinnable(const struct iovec *iov, int niov)
{
    RCU_READ_LOCK_GUARD();
    for (int i = 0; i < niov; i++) {
        if (meets_unpinnable((uintptr_t)iov[i].iov_base, iov[i].iov_len)) {
            return true;
        }
    }
    return false;
}

bool gmem_pins_check(const char *who, Error **errp)
{
    const Unpinnable *memory = QLIST_FIRST(&unpinnable);

    if (memory) {
        error_setg(errp, "memory backend '%s': direct-map=off: %s needs pages "
                   "of the guest pinned, and the kernel cannot pin what it "
                   "does not map; use direct-map=on", memory->id, who);
    }
    return !memory;
}
