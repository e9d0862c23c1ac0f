/*
 * x86 guests whose memory the host's kernel does not map
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "cpu.h"
#include "hw/boards.h"
#include "hw/i386/x86.h"
#include "hw/qdev-core.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "standard-headers/asm-x86/kvm_para.h"
#include "gmem/cpuid.h"
#include "gmem/gmem.h"
#include "gmem/pins.h"

typedef struct Feature {
    const char *name;           /* of the property */
    const char *needs;
    FeatureWord word;
    uint32_t function;
    int reg;
    uint32_t bits;
} Feature;

static const Feature features[] = {
    { "svm", "nested virtualization", FEAT_8000_0001_ECX, 0x80000001, R_ECX,
      CPUID_EXT3_SVM },
    { "vmx", "nested virtualization", FEAT_1_ECX, 1, R_ECX, CPUID_EXT_VMX },
    { "kvmclock", "kvm-clock", FEAT_KVM, KVM_CPUID_FEATURES, R_EAX,
      CPUID_KVM_CLOCK | CPUID_KVM_CLOCK2 },
};

static bool is_off(void)
{
    return gmem_unpinnable_any() ||
           MACHINE(qdev_get_machine())->gmem.use.no_direct_map;
}

uint32_t gmem_cpuid_hidden(uint32_t function, int reg)
{
    uint32_t bits = 0;

    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (features[i].function == function && features[i].reg == reg &&
            is_off()) {
            bits |= features[i].bits;
        }
    }
    return bits;
}

void gmem_cpuid_init(X86CPU *cpu)
{
    for (size_t i = 0; i < ARRAY_SIZE(features) && is_off(); i++) {
        cpu->env.features[features[i].word] &= ~features[i].bits;
    }
}

/* One that @words have; NULL if none */
static const Feature *find_feature(const uint64_t *words)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (words[features[i].word] & features[i].bits) {
            return &features[i];
        }
    }
    return NULL;
}

bool gmem_cpuid_check(X86CPU *cpu, Error **errp)
{
    const Feature *found = is_off() ? find_feature(cpu->filtered_features)
                                    : NULL;

    if (found) {
        error_setg(errp, "%s=on: direct-map=off: for %s KVM maps pages of the "
                   "guest, and this guest's are out of the kernel's direct "
                   "map; use %s=off, or direct-map=on", found->name,
                   found->needs, found->name);
    }
    return !found;
}

/*
 * What of these the guest uses; NULL if nothing.  It may do so although its
 * processors do not have it, if it began elsewhere.
 */
static const char *used_by_guest(const CPUX86State *env)
{
    if (env->system_time_msr & 1) {
        return "kvm-clock";
    }
    if (env->efer & MSR_EFER_SVME) {
        return "nested virtualization (SVM)";
    }
    return env->cr[4] & CR4_VMXE_MASK ? "nested virtualization (VMX)" : NULL;
}

static bool refuse_loaded(const char *used)
{
    error_report("direct-map=off: the guest that comes uses %s, for which KVM "
                 "maps pages of it; start it without (-cpu …,-kvmclock,-svm,"
                 "-vmx) where it comes from, or use direct-map=on here", used);
    return false;
}

bool gmem_cpuid_check_loaded(const X86CPU *cpu)
{
    const char *used = is_off() ? used_by_guest(&cpu->env) : NULL;

    return !used || refuse_loaded(used);
}

int gmem_cpuid_pre_load_nested(void *opaque)
{
    const X86CPU *cpu = opaque;

    if (cpu->env.nested_state) {
        return 0;
    }
    if (is_off()) {
        refuse_loaded("nested virtualization");
    } else {
        error_report("the guest that comes uses nested virtualization, and its "
                     "processors here have none");
    }
    return -EINVAL;
}

static bool cpus_allow(Error **errp)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        const Feature *found = find_feature(X86_CPU(cs)->env.features);

        if (found) {
            error_setg(errp, "direct-map=off: processors of this machine have "
                       "%s, for which KVM maps pages of the guest; start it "
                       "with guest-memfd-direct-map=off, or with %s=off in "
                       "-cpu", found->name, found->name);
            return false;
        }
    }
    return true;
}

/* As long as there is no board, smm=auto can still become off. */
static bool smm_allows(Error **errp)
{
    Object *machine = qdev_get_machine();
    X86MachineState *x86ms;

    if (!object_dynamic_cast(machine, TYPE_X86_MACHINE)) {
        return true;
    }
    x86ms = X86_MACHINE(machine);
    if (x86ms->smm == ON_OFF_AUTO_AUTO &&
        !phase_check(PHASE_MACHINE_INITIALIZED)) {
        x86ms->smm = ON_OFF_AUTO_OFF;
    }
    if (x86ms->smm == ON_OFF_AUTO_ON ||
        (x86ms->smm == ON_OFF_AUTO_AUTO &&
         x86_machine_is_smm_enabled(x86ms))) {
        error_setg(errp, "direct-map=off: what System Management Mode sees of "
                   "memory are mapped memslots, which need a direct map; use "
                   "smm=off with the machine, or direct-map=on");
        return false;
    }
    return true;
}

static bool direct_map_off(Error **errp)
{
    if (kvm_state->xen_version) {
        error_setg(errp, "direct-map=off: xen-version: KVM maps what Xen and "
                   "the guest share; use direct-map=on");
        return false;
    }
    return cpus_allow(errp) && smm_allows(errp);
}

static GmemListener listener = {
    .direct_map_off = direct_map_off,
};

static void register_listener(void)
{
    gmem_listener_register(&listener);
}

type_init(register_listener);
