/*
 * What the user can ask of memory that is a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/boards.h"
#include "system/hostmem.h"
#include "system/kvm.h"
#include "gmem/gmem.h"
#include "gmem/hostmem.h"
#include "gmem/hostmem-convert.h"
#include "gmem/state.h"

/* A member of GmemUse: a property of backends, whose default the machine has */
typedef struct UseProperty {
    const char *name;
    const char *of_machine;
    const char *type;
    const QEnumLookup *lookup;  /* NULL: a switch, 0 is on */
    size_t offset;
    const char *description;
    int mapped;                 /* the value that takes mapped memslots, or 0 */

    /* may it be set?  NULL: yes */
    bool (*allows)(const HostMemoryBackend *backend, int value, Error **errp);
    /* it changes, of memory that exists */
    bool (*apply)(GuestMemfd *gmem, int value, Error **errp);
} UseProperty;

static bool allows_slots(const HostMemoryBackend *backend, int value,
                         Error **errp)
{
    return gmem_hostmem_allows_slots(backend, value, errp);
}

static bool apply_slots(GuestMemfd *gmem, int value, Error **errp)
{
    return gmem_set_slots(gmem, value, errp);
}

/* It matters when postcopy begins. */
static bool apply_postcopy(GuestMemfd *gmem, int value, Error **errp)
{
    gmem->postcopy.policy = value;
    return true;
}

static bool apply_dirty_log(GuestMemfd *gmem, int value, Error **errp)
{
    gmem_set_dirty_log(gmem, value);
    return true;
}

static bool allows_direct_map(const HostMemoryBackend *backend, int value,
                              Error **errp)
{
    if (host_memory_backend_mr_inited((HostMemoryBackend *)backend) &&
        value != backend->gmem.use.no_direct_map) {
        error_setg(errp, "memory backend '%s': direct-map cannot change: its "
                   "memory exists", object_get_canonical_path_component(
                       OBJECT(backend)));
        return false;
    }
    return true;
}

static bool apply_direct_map(GuestMemfd *gmem, int value, Error **errp)
{
    return true;
}

static const UseProperty use_properties[] = {
    { "slots", "guest-memfd-slots", "GuestMemfdSlots",
      &GuestMemfdSlots_lookup, offsetof(GmemUse, slots),
      "How KVM reaches the pages of a guest_memfd (auto, bound, mapped)",
      GUEST_MEMFD_SLOTS_MAPPED, allows_slots, apply_slots },
    { "postcopy", "guest-memfd-postcopy", "GuestMemfdPostcopy",
      &GuestMemfdPostcopy_lookup, offsetof(GmemUse, postcopy),
      "How pages of a guest_memfd come in by postcopy (auto, mapped, "
      "userfault)",
      GUEST_MEMFD_POSTCOPY_MAPPED, NULL, apply_postcopy },
    { "dirty-log", "guest-memfd-dirty-log", "GuestMemfdDirtyLog",
      &GuestMemfdDirtyLog_lookup, offsetof(GmemUse, dirty_log),
      "How KVM logs which pages of a guest_memfd are written (auto, mapped)",
      GUEST_MEMFD_DIRTY_LOG_MAPPED, NULL, apply_dirty_log },
    { "direct-map", "guest-memfd-direct-map", "bool",
      NULL, offsetof(GmemUse, no_direct_map),
      "Let the host's kernel map the pages of a guest_memfd for itself",
      0, allows_direct_map, apply_direct_map },
};

static int *use_member(GmemUse *use, const UseProperty *property)
{
    return (int *)((char *)use + property->offset);
}

static const char *value_string(const UseProperty *property, int value)
{
    return property->lookup ? qapi_enum_lookup(property->lookup, value)
                            : value ? "off" : "on";
}

static const char *use_string(const GmemUse *use, const UseProperty *property)
{
    return value_string(property, *use_member((GmemUse *)use, property));
}

static bool visit_use(Visitor *v, const char *name,
                      const UseProperty *property, int *value, Error **errp)
{
    bool on = !*value;

    if (property->lookup) {
        return visit_type_enum(v, name, value, property->lookup, errp);
    }
    if (!visit_type_bool(v, name, &on, errp)) {
        return false;
    }
    *value = !on;
    return true;
}

static uint32_t use_bit(const UseProperty *property)
{
    return BIT(property - use_properties);
}

/* The first of those in @given, or NULL */
static const UseProperty *first_given(uint32_t given)
{
    return given ? &use_properties[ctz32(given)] : NULL;
}

static void refuse_other(const UseProperty *property, const char *value,
                         Error **errp)
{
    error_setg(errp, "%s=%s: the memory is no guest_memfd; use "
               "guest-memfd=on, or leave it out", property->name, value);
}

/* Can it have this @value, with no direct map? */
static bool allows_value(const HostMemoryBackend *backend,
                         const UseProperty *property, int value, Error **errp)
{
    if (backend->gmem.use.no_direct_map && value &&
        value == property->mapped) {
        error_setg(errp, "%s=%s: direct-map=off: KVM cannot reach memory that "
                   "the kernel does not map through mapped memslots; use "
                   "%s=auto, or direct-map=on", property->name,
                   value_string(property, value), property->name);
        return false;
    }
    return true;
}

bool gmem_hostmem_check_values(HostMemoryBackend *backend, Error **errp)
{
    for (size_t i = 0; i < ARRAY_SIZE(use_properties); i++) {
        const UseProperty *property = &use_properties[i];

        if (!allows_value(backend, property,
                          *use_member(&backend->gmem.use, property), errp)) {
            return false;
        }
    }
    return true;
}

bool gmem_hostmem_check_other(HostMemoryBackend *backend, Error **errp)
{
    const UseProperty *property = first_given(backend->gmem.given);

    if (property) {
        refuse_other(property, use_string(&backend->gmem.use, property), errp);
    }
    return !property;
}

static void get_use(Object *obj, Visitor *v, const char *name, void *opaque,
                    Error **errp)
{
    const UseProperty *property = opaque;

    visit_use(v, name, property,
              use_member(&MEMORY_BACKEND(obj)->gmem.use, property), errp);
}

static void set_use(Object *obj, Visitor *v, const char *name, void *opaque,
                    Error **errp)
{
    const UseProperty *property = opaque;
    HostMemoryBackend *backend = MEMORY_BACKEND(obj);
    bool exists = host_memory_backend_mr_inited(backend);
    int value = 0;

    if (!visit_use(v, name, property, &value, errp)) {
        return;
    }
    backend->gmem.given |= use_bit(property);
    if (exists && !backend->gmem.wanted) {
        refuse_other(property, value_string(property, value), errp);
        return;
    }
    if (exists && !allows_value(backend, property, value, errp)) {
        return;
    }
    if (property->allows && !property->allows(backend, value, errp)) {
        return;
    }
    if (exists && !property->apply(gmem_from_region(&backend->mr), value,
                                   errp)) {
        return;
    }
    *use_member(&backend->gmem.use, property) = value;
}

static bool get_wanted(Object *obj, Error **errp)
{
    return MEMORY_BACKEND(obj)->gmem.wanted;
}

static void set_wanted(Object *obj, bool value, Error **errp)
{
    HostMemoryBackend *backend = MEMORY_BACKEND(obj);

    if (host_memory_backend_mr_inited(backend)) {
        error_setg(errp, "cannot change property 'guest-memfd' of %s '%s'",
                   object_get_typename(obj),
                   object_get_canonical_path_component(obj));
        return;
    }
    if (!value && object_dynamic_cast(obj, TYPE_MEMORY_BACKEND_GUEST_MEMFD)) {
        error_setg(errp, "property 'guest-memfd' of %s is always on; use "
                   TYPE_MEMORY_BACKEND_MEMFD, object_get_typename(obj));
        return;
    }
    backend->gmem.wanted = value;
}

static void add_use(ObjectClass *oc, const char *name,
                    const UseProperty *property,
                    ObjectPropertyAccessor *get, ObjectPropertyAccessor *set)
{
    object_class_property_add(oc, name, property->type, get, set, NULL,
                              (void *)property);
    object_class_property_set_description(oc, name, property->description);
}

void gmem_hostmem_class_init(ObjectClass *oc)
{
    object_class_property_add_bool(oc, "guest-memfd", get_wanted, set_wanted);
    object_class_property_set_description(oc, "guest-memfd",
        "Let the memory be a guest_memfd");
    for (size_t i = 0; i < ARRAY_SIZE(use_properties); i++) {
        add_use(oc, use_properties[i].name, &use_properties[i], get_use,
                set_use);
    }
}

void gmem_hostmem_init(HostMemoryBackend *backend)
{
    MachineState *machine = MACHINE(qdev_get_machine());

    backend->gmem.wanted = machine->gmem.wanted;
    backend->gmem.use = machine->gmem.use;
}

/* There is one machine, and one command line. */
static bool machine_said_off;

bool gmem_machine_said_off(void)
{
    return machine_said_off;
}

static bool machine_get_wanted(Object *obj, Error **errp)
{
    return MACHINE(obj)->gmem.wanted;
}

static void machine_set_wanted(Object *obj, bool value, Error **errp)
{
    MACHINE(obj)->gmem.wanted = value;
    machine_said_off = !value;
}

static void machine_get_use(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    const UseProperty *property = opaque;

    visit_use(v, name, property,
              use_member(&MACHINE(obj)->gmem.use, property), errp);
}

static void machine_set_use(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    const UseProperty *property = opaque;

    if (!property->lookup && phase_check(PHASE_MACHINE_INITIALIZED)) {
        error_setg(errp, "%s cannot change: the machine is there", name);
        return;
    }
    if (visit_use(v, name, property,
                  use_member(&MACHINE(obj)->gmem.use, property), errp)) {
        MACHINE(obj)->gmem.given |= use_bit(property);
    }
}

bool gmem_machine_check(const MachineState *machine, Error **errp)
{
    const UseProperty *property = first_given(machine->gmem.given);

    if (gmem_conversions()->enabled && !kvm_enabled()) {
        error_setg(errp, "memory of this machine cannot turn private: KVM "
                   "has failed, and no other accelerator can do it");
        return false;
    }
    if (property && !machine->gmem.wanted) {
        error_setg(errp, "%s=%s: the machine's memory is no guest_memfd; add "
                   "guest-memfd=on, or use %s= with the backends that are one",
                   property->of_machine,
                   use_string(&machine->gmem.use, property), property->name);
        return false;
    }
    return true;
}

void gmem_machine_class_init(ObjectClass *oc)
{
    object_class_property_add_bool(oc, "guest-memfd", machine_get_wanted,
                                   machine_set_wanted);
    object_class_property_set_description(oc, "guest-memfd",
        "Let all guest RAM be guest_memfds");
    for (size_t i = 0; i < ARRAY_SIZE(use_properties); i++) {
        add_use(oc, use_properties[i].of_machine, &use_properties[i],
                machine_get_use, machine_set_use);
    }
}
