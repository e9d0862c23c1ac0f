/*
 * Software-protected VMs of x86
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-common.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qom/object_interfaces.h"
#include "exec/target_page.h"
#include "hw/boards.h"
#include "hw/resettable.h"
#include "hw/i386/x86.h"
#include "hw/i386/apic_internal.h"
#include "migration/blocker.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/memory.h"
#include "system/reset.h"
#include "system/system.h"
#include "cpu.h"
#include "confidential-guest.h"
#include "kvm/kvm_i386.h"
#include "standard-headers/asm-x86/kvm_para.h"
#include <linux/kvm_para.h>
#include "gmem/caps.h"
#include "gmem/convert.h"
#include "gmem/hostmem-convert.h"
#include "gmem/state.h"
#include "gmem/sw-protected.h"

OBJECT_DECLARE_TYPE(SwProtectedGuest, SwProtectedGuestClass, SW_PROTECTED_GUEST)

struct SwProtectedGuest {
    X86ConfidentialGuest parent_obj;

    OnOffAuto in_place;
    Error *blocker;
    ResettableState reset_state;
};

struct SwProtectedGuestClass {
    X86ConfidentialGuestClass parent_class;
};

OBJECT_DEFINE_TYPE_WITH_INTERFACES(SwProtectedGuest, sw_protected_guest,
                                   SW_PROTECTED_GUEST, X86_CONFIDENTIAL_GUEST,
                                   { TYPE_USER_CREATABLE },
                                   { TYPE_RESETTABLE_INTERFACE }, { })

bool gmem_is_sw_protected(const void *cgs)
{
    return cgs && object_dynamic_cast(OBJECT(cgs), TYPE_SW_PROTECTED_GUEST);
}

bool gmem_handles_hypercalls(void)
{
    return gmem_conversions()->enabled;
}

int gmem_map_gpa_range(struct kvm_run *run)
{
    uint64_t gpa = run->hypercall.args[0];
    uint64_t pages = run->hypercall.args[1];
    uint64_t attributes = run->hypercall.args[2];
    int ret = -KVM_EINVAL;

    if (pages <= UINT64_MAX / TARGET_PAGE_SIZE &&
        !(attributes & ~(KVM_MAP_GPA_RANGE_PAGE_SZ_2M |
                         KVM_MAP_GPA_RANGE_PAGE_SZ_1G |
                         KVM_MAP_GPA_RANGE_ENCRYPTED))) {
        ret = gmem_convert(gpa, pages * TARGET_PAGE_SIZE,
                           attributes & KVM_MAP_GPA_RANGE_ENCRYPTED);
    }
    run->hypercall.ret = ret;
    return 0;
}

static int sw_protected_kvm_type(X86ConfidentialGuest *cg)
{
    if (!kvm_is_vm_type_supported(KVM_X86_SW_PROTECTED_VM)) {
        error_report(TYPE_SW_PROTECTED_GUEST ": KVM of this kernel has no "
                     "software-protected VMs: KVM_CAP_VM_TYPES lacks bit %d; "
                     "CONFIG_KVM_SW_PROTECTED_VM and nested page tables are "
                     "needed", KVM_X86_SW_PROTECTED_VM);
        exit(EXIT_FAILURE);
    }
    return KVM_X86_SW_PROTECTED_VM;
}

static bool leave_out_smm(MachineState *ms, Error **errp)
{
    X86MachineState *x86ms;

    if (!object_dynamic_cast(OBJECT(ms), TYPE_X86_MACHINE)) {
        error_setg(errp, "a machine of type %s cannot have a "
                   TYPE_SW_PROTECTED_GUEST "; use q35, pc or microvm",
                   object_get_typename(OBJECT(ms)));
        return false;
    }
    x86ms = X86_MACHINE(ms);
    if (x86ms->smm == ON_OFF_AUTO_ON) {
        error_setg(errp, "smm=on: a " TYPE_SW_PROTECTED_GUEST " has no System "
                   "Management Mode; use smm=off");
        return false;
    }
    x86ms->smm = ON_OFF_AUTO_OFF;
    return true;
}

/* One backing or two? */
static bool choose_backing(SwProtectedGuest *guest, MachineState *ms,
                           GmemConversions *choice, Error **errp)
{
    GmemAttributes attributes = gmem_caps_attributes();
    bool can = attributes == GMEM_ATTRIBUTES_OF_FILE;
    bool in_place = guest->in_place == ON_OFF_AUTO_ON ||
                    (guest->in_place == ON_OFF_AUTO_AUTO && can &&
                     !gmem_machine_said_off());

    if (attributes == GMEM_ATTRIBUTES_NONE) {
        error_setg(errp, "KVM of this kernel knows no private pages: neither "
                   "KVM_CAP_MEMORY_ATTRIBUTES nor KVM_SET_MEMORY_ATTRIBUTES2 "
                   "on a guest_memfd");
        return false;
    }
    if (in_place && !can) {
        error_setg(errp, "in-place=on: this kernel cannot convert pages in "
                   "place: a guest_memfd has no KVM_SET_MEMORY_ATTRIBUTES2; "
                   "use in-place=auto");
        return false;
    }
    if (in_place && gmem_machine_said_off()) {
        error_setg(errp, "in-place=on: guest RAM is a guest_memfd then; leave "
                   "out guest-memfd=off");
        return false;
    }
    if (!in_place && ms->gmem.wanted) {
        error_setg(errp, "guest-memfd=on: guest RAM is a guest_memfd only "
                   "where pages turn private in place%s",
                   can ? "; use in-place=on" : ", which this kernel cannot; "
                   "leave it out");
        return false;
    }
    ms->gmem.wanted = in_place;
    *choice = (GmemConversions) { .in_place = in_place, .by_file = can };
    return true;
}

static bool check_memory_lock(bool in_place, Error **errp)
{
    if (!in_place && should_mlock(mlock_state)) {
        error_setg(errp, "-overcommit mem-lock: pages that turn private are "
                   "taken out of the shared memory, and locked ones cannot "
                   "be; use mem-lock=off");
        return false;
    }
    return true;
}

/* Xen's emulation keeps pointers to pages of the guest's choice. */
static bool check_xen(Error **errp)
{
    if (kvm_state->xen_version) {
        error_setg(errp, "xen-version: Xen's emulation goes on using pages "
                   "that turn private; leave it out");
        return false;
    }
    return true;
}

/* A blocker cannot be added later, while a migration runs. */
static bool block_migration(SwProtectedGuest *guest, Error **errp)
{
    error_setg(&guest->blocker, "a " TYPE_SW_PROTECTED_GUEST " cannot be "
               "migrated or saved: its private pages are its own");
    return migrate_add_blocker(&guest->blocker, errp) == 0;
}

static bool require_discards(Error **errp)
{
    if (ram_block_coordinated_discard_require(true)) {
        error_setg(errp, "something in this VM needs all of its memory for "
                   "good, such as an assigned device, and pages cannot turn "
                   "private then");
        return false;
    }
    return true;
}

static bool enable_hypercall(Error **errp)
{
    if (!kvm_enable_hypercall(BIT_ULL(KVM_HC_MAP_GPA_RANGE))) {
        error_setg(errp, "KVM does not pass on KVM_HC_MAP_GPA_RANGE: "
                   "KVM_CAP_EXIT_HYPERCALL cannot be enabled");
        return false;
    }
    return true;
}

static int sw_protected_kvm_init(ConfidentialGuestSupport *cgs, Error **errp)
{
    ERRP_GUARD();
    SwProtectedGuest *guest = SW_PROTECTED_GUEST(cgs);
    MachineState *ms = MACHINE(qdev_get_machine());
    GmemConversions choice;

    if (!leave_out_smm(ms, errp) ||
        !choose_backing(guest, ms, &choice, errp) ||
        !check_memory_lock(choice.in_place, errp) || !check_xen(errp) ||
        !enable_hypercall(errp) || !require_discards(errp) ||
        !block_migration(guest, errp)) {
        error_prepend(errp, TYPE_SW_PROTECTED_GUEST ": ");
        return -EINVAL;
    }
    /* it reads guest memory where a guest says, and lays some over other */
    object_register_sugar_prop(TYPE_APIC_COMMON, "vapic", "off", false);
    qemu_register_resettable(OBJECT(guest));
    /* the last here; gmem_machine_check() if KVM fails later */
    gmem_conversions_enable(choice.in_place, choice.by_file);
    cgs->ready = true;
    return 0;
}

static void sw_protected_cpu_instance_init(X86ConfidentialGuest *cg,
                                           CPUState *cpu)
{
    cpu_env(cpu)->features[FEAT_KVM] |= BIT(KVM_FEATURE_HC_MAP_GPA_RANGE);
}

static uint32_t sw_protected_adjust_cpuid(X86ConfidentialGuest *cg,
                                          uint32_t function, uint32_t index,
                                          int reg, uint32_t value)
{
    if (function == KVM_CPUID_FEATURES && reg == R_EAX) {
        value |= BIT(KVM_FEATURE_HC_MAP_GPA_RANGE);
    }
    return value;
}

static ResettableState *sw_protected_reset_state(Object *obj)
{
    return &SW_PROTECTED_GUEST(obj)->reset_state;
}

/*
 * In the first phase: in the second, ROMs are copied to guest memory, and
 * devices read and write it.  A guest that wakes up has its memory.
 */
static void sw_protected_reset_enter(Object *obj, ResetType type)
{
    if (type != RESET_TYPE_WAKEUP) {
        gmem_convert_reset();
    }
}

static void get_in_place(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    visit_type_OnOffAuto(v, name, &SW_PROTECTED_GUEST(obj)->in_place, errp);
}

static void set_in_place(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    if (CONFIDENTIAL_GUEST_SUPPORT(obj)->ready) {
        error_setg(errp, "in-place cannot be changed: the VM is there");
        return;
    }
    visit_type_OnOffAuto(v, name, &SW_PROTECTED_GUEST(obj)->in_place, errp);
}

static void sw_protected_guest_init(Object *obj)
{
}

static void sw_protected_guest_finalize(Object *obj)
{
}

static void sw_protected_guest_class_init(ObjectClass *oc, const void *data)
{
    ConfidentialGuestSupportClass *cgsc = CONFIDENTIAL_GUEST_SUPPORT_CLASS(oc);
    X86ConfidentialGuestClass *x86 = X86_CONFIDENTIAL_GUEST_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    cgsc->kvm_init = sw_protected_kvm_init;
    x86->kvm_type = sw_protected_kvm_type;
    x86->cpu_instance_init = sw_protected_cpu_instance_init;
    x86->adjust_cpuid_features = sw_protected_adjust_cpuid;
    rc->get_state = sw_protected_reset_state;
    rc->phases.enter = sw_protected_reset_enter;

    object_class_property_add(oc, "in-place", "OnOffAuto", get_in_place,
                              set_in_place, NULL, NULL);
    object_class_property_set_description(oc, "in-place",
        "Whether private pages stay where they are (auto: where the kernel "
        "can), or have a backing of their own");
}
