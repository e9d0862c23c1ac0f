/*
 * guest_memfd where KVM is not compiled in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/cpus.h"
#include "gmem/caps.h"
#include "gmem/slots-view.h"
#include "gmem/userfault.h"

bool gmem_caps_check(Error **errp)
{
    error_setg(errp, "guest_memfd needs KVM, which this QEMU was built "
               "without for this target");
    return false;
}

int gmem_caps_create(uint64_t size, uint64_t flags, Error **errp)
{
    gmem_caps_check(errp);
    return -1;
}

GuestMemfdInterfaceInfoList *gmem_caps_query(void)
{
    return NULL;
}

const GuestMemfdInterfaceInfo *gmem_caps_find(GuestMemfdInterface name)
{
    return NULL;
}

GuestMemfdSlotInfoList *gmem_slots_query(const GuestMemfd *gmem)
{
    return NULL;
}

void gmem_slots_refresh(void)
{
}

bool gmem_slots_ready(Error **errp)
{
    return true;
}

bool gmem_slots_put_cpus(Error **errp)
{
    cpu_synchronize_all_post_init();
    return true;
}

bool gmem_slots_may_start(void)
{
    return true;
}

bool gmem_userfault_begin(GuestMemfd *gmem, const unsigned long *received,
                          uint64_t size)
{
    return false;
}

void gmem_userfault_end(GuestMemfd *gmem)
{
}

void gmem_userfault_placed(GuestMemfd *gmem, uint64_t offset, uint64_t size)
{
}

void gmem_userfault_open(void (*wake)(void))
{
}

void gmem_userfault_close(void)
{
}

bool gmem_userfault_next(GmemUserfaultRequest *request)
{
    return false;
}

void gmem_caps_found(GuestMemfdInterface name, const char *tried, int ret)
{
}
