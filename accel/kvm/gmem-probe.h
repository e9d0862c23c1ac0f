/*
 * Kernel interfaces found out by trying them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_PROBE_H
#define GMEM_PROBE_H

#include "qapi/qapi-types-gmem.h"

/* @known: @available is what was found out.  Takes @found_by over. */
typedef void GmemProbeResult(GuestMemfdInterfaceInfo *info, bool known,
                             bool available, char *found_by);

/*
 * Try every interface that no capability announces, on a VM and a
 * guest_memfd made for that, which are gone afterwards.  @infos is indexed
 * by #GuestMemfdInterface.
 */
void gmem_probe_all(GuestMemfdInterfaceInfo *infos, GmemProbeResult *result);

/*
 * Tell the @result of what was @tried for @info: @ret 1 it is there, 0 it is not,
 * -errno what the kernel said, which may be that it is not, and -ENODATA if it
 * could not be found out.
 */
void gmem_probe_tell(GuestMemfdInterfaceInfo *info, GmemProbeResult *result,
                     const char *tried, int ret);

/*
 * Whether a bound slot of @vm at 0 keeps its guest mappings when @map, the
 * VMM's mapping of the same file, loses its page: 1 or 0, or -ENODATA
 * where that cannot be found out.  Adds a vCPU to @vm.
 */
int gmem_probe_notifier_free(int vm, void *map, size_t page_size);

#endif /* GMEM_PROBE_H */
