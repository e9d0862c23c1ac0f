/*
 * What a user of guest_memfd backends types, and what QEMU answers
 *
 * GMEM_TEST_ACCEL=tcg: everything is refused, by name.  GMEM_TEST_ACCEL=kvm
 * (a host whose KVM has guest_memfd): it works, and what cannot work is
 * refused with a reason.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "tests/qtest/libqtest.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"

static const char *accel;

/* Given a command line that must fail at once: its exit status and stderr. */
static char *start_fails(const char *const *args)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    char *err = NULL;
    int status;

    g_ptr_array_add(argv, (void *)g_getenv("QTEST_QEMU_BINARY"));
    for (; *args; args++) {
        g_ptr_array_add(argv, (void *)*args);
    }
    g_ptr_array_add(argv, NULL);
    g_assert_true(g_spawn_sync(NULL, (char **)argv->pdata, NULL,
                               G_SPAWN_DEFAULT, NULL, NULL, NULL, &err,
                               &status, &error));
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    return err;
}

/* The one line of @err without the name of the program and the option. */
static void assert_one_line(const char *err, const char *expected)
{
    g_auto(GStrv) lines = g_strsplit(g_strchomp((char *)err), "\n", 0);

    g_assert_cmpint(g_strv_length(lines), ==, 1);
    if (!g_str_has_suffix(lines[0], expected)) {
        g_test_message("got: %s, expected: ...%s", lines[0], expected);
        g_test_fail();
    }
}

static QTestState *start(const char *extra)
{
    return qtest_initf("-machine none -accel %s %s", accel, extra);
}

static char *object_add_error(QTestState *qts, const char *props)
{
    g_autofree char *json = g_strdup_printf("{ %s }", props);
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'object-add',"
                           " 'arguments': %p }",
                           qobject_from_json(json, &error_abort));
    char *desc = NULL;

    if (qdict_haskey(rsp, "error")) {
        desc = g_strdup(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"));
    }
    qobject_unref(rsp);
    return desc;
}

static void assert_refused(const char *props, const char *expected)
{
    QTestState *qts = start("");
    g_autofree char *desc = object_add_error(qts, props);

    g_assert_cmpstr(desc, ==, expected);
    /* nothing is left of it: the same name can be used at once */
    desc = (g_free(desc), object_add_error(qts,
        "'qom-type': 'memory-backend-ram', 'id': 'm0', 'size': 4096"));
    g_assert_cmpstr(desc, ==, NULL);
    qtest_quit(qts);
}

static void test_help(void)
{
    static const char *const wanted[] = {
        "slots=<GuestMemfdSlots>", "postcopy=<GuestMemfdPostcopy>",
        "dirty-log=<GuestMemfdDirtyLog>",
        "guest-memfd=<bool>", "size=<int>",
        "prealloc=<bool>", "prealloc-threads=<int>", "host-nodes=<int>",
        "policy=<HostMemPolicy>", "share=<bool>", "dump=<bool>",
    };
    const char *argv[] = {
        g_getenv("QTEST_QEMU_BINARY"), "-object",
        "memory-backend-guest-memfd,help", NULL,
    };
    g_autofree char *out = NULL;
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT,
                               NULL, NULL, &out, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        g_assert_nonnull(strstr(out, wanted[i]));
    }
}

static void test_defaults(void)
{
    QTestState *qts = start("-object memory-backend-memfd,id=m0,size=2M");
    QDict *rsp;

    rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/objects/m0', 'property': 'guest-memfd' } }");
    g_assert_false(qdict_get_bool(rsp, "return"));
    qobject_unref(rsp);
    rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/objects/m0', 'property': 'slots' } }");
    g_assert_cmpstr(qdict_get_str(rsp, "return"), ==, "auto");
    qobject_unref(rsp);
    qtest_quit(qts);
}

/* With no guest_memfd asked for, there is none. */
static void test_query_empty(void)
{
    QTestState *qts = start("-object memory-backend-memfd,id=m0,size=2M");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-guest-memfd' }");
    QDict *ret = qdict_get_qdict(rsp, "return");
    g_autofree char *text = qtest_hmp(qts, "info guest-memfd");

    g_assert_true(qlist_empty(qdict_get_qlist(ret, "blocks")));
    g_assert_cmpint(qlist_empty(qdict_get_qlist(ret, "host")), ==,
                    g_str_equal(accel, "tcg"));
    g_assert_nonnull(strstr(text, "No guest RAM is a guest_memfd"));
    qobject_unref(rsp);
    qtest_quit(qts);
}

static void test_type_is_always_on(void)
{
    assert_refused("'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
                   "'size': 4096, 'guest-memfd': false",
                   "property 'guest-memfd' of memory-backend-guest-memfd is "
                   "always on; use memory-backend-memfd");
}

/* What says how to use a guest_memfd is refused where there is none. */
static void test_other_memory(const void *property)
{
    const char *name = property;
    g_autofree char *machine = g_strdup_printf("none,guest-memfd-%s=mapped",
                                               name);
    g_autofree char *props = g_strdup_printf("'qom-type': 'memory-backend-ram',"
                                             " 'id': 'm0', 'size': 4096,"
                                             " '%s': 'auto'", name);
    g_autofree char *of_machine = g_strdup_printf(
        "guest-memfd-%s=mapped: the machine's memory is no guest_memfd; add "
        "guest-memfd=on, or use %s= with the backends that are one", name,
        name);
    g_autofree char *of_new = g_strdup_printf(
        "memory backend 'm0': %s=auto: the memory is no guest_memfd; use "
        "guest-memfd=on, or leave it out", name);
    g_autofree char *of_old = g_strdup_printf(
        "%s=mapped: the memory is no guest_memfd; use guest-memfd=on, or "
        "leave it out", name);
    const char *const args[] = {
        "-machine", machine, "-accel", accel, "-display", "none", NULL,
    };
    g_autofree char *err = start_fails(args);
    QTestState *qts = start("-object memory-backend-memfd,id=m1,size=2M");
    QDict *rsp;

    assert_one_line(err, of_machine);
    assert_refused(props, of_new);
    rsp = qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                    " 'path': '/objects/m1', 'property': %s,"
                    " 'value': 'mapped' } }", name);
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"), ==,
                    of_old);
    qobject_unref(rsp);
    qtest_quit(qts);
}

/* ---- without KVM ---- */

static void tcg_refused(const void *props)
{
    QTestState *qts = start("");
    g_autofree char *desc = object_add_error(qts, props);

    g_assert_nonnull(desc);
    g_assert_true(g_str_has_prefix(desc,
                                   "memory backend 'm0': guest_memfd needs "
                                   "KVM"));
    qtest_quit(qts);
}

static void tcg_machine_refused(void)
{
    const char *const args[] = {
        "-machine", "none,guest-memfd=on", "-accel", "tcg", "-display",
        "none", "-object", "memory-backend-ram,id=m0,size=2M", NULL,
    };
    g_autofree char *err = start_fails(args);

    g_assert_nonnull(strstr(err, "memory backend 'm0': guest_memfd needs "
                            "KVM"));
}

/* Whatever the accelerator: its memory is private, so it is not ours. */
static void tcg_confidential_refused(void)
{
    const char *const args[] = {
        "-machine", "none,guest-memfd=on,confidential-guest-support=c0",
        "-accel", "tcg", "-display", "none", "-object",
        "sev-snp-guest,id=c0,cbitpos=47,reduced-phys-bits=1",
        "-object", "memory-backend-ram,id=m0,size=2M",
        NULL,
    };
    g_autofree char *err = start_fails(args);

    assert_one_line(err, "memory backend 'm0': this machine's "
                    "confidential-guest-support keeps guest memory private; "
                    "leave out guest-memfd=on");
}

static void test_protected_help(void)
{
    const char *argv[] = {
        g_getenv("QTEST_QEMU_BINARY"), "-object", "sw-protected-guest,help",
        NULL,
    };
    g_autofree char *out = NULL;
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT,
                               NULL, NULL, &out, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    g_assert_nonnull(strstr(out, "in-place=<OnOffAuto>"));
    g_assert_nonnull(strstr(out, "Whether private pages stay where they are"));
}

static void tcg_protected_refused(void)
{
    const char *const args[] = {
        "-machine", "q35,confidential-guest-support=s0", "-accel", "tcg",
        "-display", "none", "-object", "sw-protected-guest,id=s0", NULL,
    };
    g_autofree char *err = start_fails(args);

    assert_one_line(err, "accelerator does not support confidential guest "
                    "sw-protected-guest");
}

/* ---- with KVM ---- */

static QDict *only_block(QTestState *qts, QDict **rsp)
{
    QList *blocks;

    *rsp = qtest_qmp(qts, "{ 'execute': 'query-guest-memfd' }");
    blocks = qdict_get_qlist(qdict_get_qdict(*rsp, "return"), "blocks");
    g_assert_cmpint(qlist_size(blocks), ==, 1);
    return qobject_to(QDict, qlist_peek(blocks));
}

static void kvm_works(const void *props)
{
    QTestState *qts = start("");
    g_autofree char *desc = object_add_error(qts, props);
    QDict *rsp, *block, *counters;

    g_assert_cmpstr(desc, ==, NULL);
    block = only_block(qts, &rsp);
    g_assert_cmpstr(qdict_get_str(block, "memdev"), ==, "m0");
    g_assert_cmpint(qdict_get_int(block, "size"), ==, 2 * MiB);
    g_assert_cmpint(qlist_size(qdict_get_qlist(block, "flags")), ==, 2);
    /* no machine shows it to a guest yet */
    g_assert_cmpint(qdict_get_int(block, "bound-bytes"), ==, 0);
    g_assert_cmpint(qdict_get_int(block, "mapped-bytes"), ==, 0);
    g_assert_cmpint(qdict_get_int(block, "shared-bytes"), ==, 2 * MiB);
    g_assert_cmpint(qdict_get_int(block, "private-bytes"), ==, 0);
    g_assert_true(qlist_empty(qdict_get_qlist(block, "slots")));
    counters = qdict_get_qdict(block, "counters");
    g_assert_cmpint(qdict_get_int(counters, "refused"), ==, 0);
    qobject_unref(rsp);

    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'm0' } }");
    qtest_quit(qts);
}

/* query-memdev and info memdev show it as the shared memory it is. */
static void kvm_memdev(void)
{
    QTestState *qts = start("-object memory-backend-guest-memfd,id=m0,"
                            "size=2M,prealloc=on,prealloc-threads=2");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-memdev' }");
    QList *list = qdict_get_qlist(rsp, "return");
    QDict *m = qobject_to(QDict, qlist_peek(list));
    g_autofree char *text = qtest_hmp(qts, "info memdev");

    g_assert_cmpstr(qdict_get_str(m, "id"), ==, "m0");
    g_assert_true(qdict_get_bool(m, "share"));
    g_assert_true(qdict_get_bool(m, "prealloc"));
    g_assert_false(qdict_get_bool(m, "merge"));
    g_assert_nonnull(strstr(text, "memory backend: m0"));
    qobject_unref(rsp);
    qtest_quit(qts);
}

/* Every interface is answered for, with how that was found out. */
static void kvm_host_interfaces(void)
{
    QTestState *qts = start("");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-guest-memfd' }");
    QList *host = qdict_get_qlist(qdict_get_qdict(rsp, "return"), "host");
    const QListEntry *entry;
    unsigned needed = 0;

    g_assert_cmpint(qlist_size(host), ==, 17);
    QLIST_FOREACH_ENTRY(host, entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(info, "name");

        g_assert_cmpstr(qdict_get_str(info, "found-by"), !=, "");
        if (g_str_equal(name, "create") || g_str_equal(name, "mmap") ||
            g_str_equal(name, "init-shared") ||
            g_str_equal(name, "bound-slots")) {
            g_assert_true(qdict_get_bool(info, "available"));
            needed++;
        }
        if (g_str_equal(name, "iommufd-map-file")) {
            /* there is no device whose attachment would ask for the pages */
            g_assert_false(qdict_haskey(info, "available"));
        }
    }
    g_assert_cmpint(needed, ==, 4);
    qobject_unref(rsp);
    qtest_quit(qts);
}

static void kvm_refusals(void)
{
    static const struct {
        const char *props;
        const char *expected;
    } cases[] = {
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'share': false",
          "memory backend 'm0': share=off: a guest_memfd is always shared "
          "between QEMU and KVM; use share=on" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'merge': true",
          "memory backend 'm0': merge=on: the kernel does not merge pages of "
          "a guest_memfd; use merge=off" },
        { "'qom-type': 'memory-backend-ram', 'id': 'm0', 'size': 4096,"
          "'guest-memfd': true, 'share': false",
          "memory backend 'm0': share=off: a guest_memfd is always shared "
          "between QEMU and KVM; use share=on" },
        { "'qom-type': 'memory-backend-memfd', 'id': 'm0',"
          "'size': 2097152, 'guest-memfd': true, 'hugetlb': true",
          "memory backend 'm0': hugetlb=on: a guest_memfd has no huge pages; "
          "use hugetlb=off" },
        { "'qom-type': 'memory-backend-memfd', 'id': 'm0',"
          "'size': 2097152, 'guest-memfd': true, 'hugetlbsize': 2097152",
          "memory backend 'm0': hugetlbsize: a guest_memfd has no huge pages; "
          "leave it out" },
        { "'qom-type': 'memory-backend-memfd', 'id': 'm0',"
          "'size': 4096, 'guest-memfd': true, 'seal': true",
          "memory backend 'm0': seal=on: a guest_memfd cannot be sealed, its "
          "size never changes; use seal=off" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4095",
          "memory backend 'm0': size 0xfff is not a multiple of the page "
          "size 0x1000" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0', 'size': 0",
          "property 'size' of memory-backend-guest-memfd doesn't take value "
          "'0'" },
        { "'qom-type': 'memory-backend-file', 'id': 'm0', 'size': 4096,"
          "'mem-path': '/dev/shm', 'guest-memfd': true",
          "memory backend 'm0': a memory-backend-file cannot be a "
          "guest_memfd; use memory-backend-guest-memfd, or guest-memfd=off "
          "for this backend" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'hugetlb': true",
          "Parameter 'hugetlb' is unexpected" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'readonly': true",
          "Parameter 'readonly' is unexpected" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'rom': 'on'",
          "Parameter 'rom' is unexpected" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'slots': 'often'",
          "Parameter 'slots' does not accept value 'often'" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'postcopy': 'never'",
          "Parameter 'postcopy' does not accept value 'never'" },
        { "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 4096, 'dirty-log': 'bound'",
          "Parameter 'dirty-log' does not accept value 'bound'" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_refused(cases[i].props, cases[i].expected);
    }
}

static void kvm_larger_than_memory(void)
{
    QTestState *qts = start("");
    g_autofree char *desc = object_add_error(qts,
        "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
        "'size': 1125899906842624");

    g_assert_true(g_str_has_prefix(desc, "memory backend 'm0': 1 PiB is more "
                                   "than the host's "));
    g_assert_nonnull(strstr(desc, "use a smaller size, or reserve=off"));
    qtest_quit(qts);
}

/* What is preallocated and cannot be had is an error, and is given back. */
static void kvm_prealloc_enomem(void)
{
    QTestState *qts = start("");
    g_autofree char *props = g_strdup_printf(
        "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
        "'size': %" PRIu64 ", 'prealloc': true",
        (uint64_t)sysconf(_SC_PHYS_PAGES) * qemu_real_host_page_size());
    g_autofree char *desc = object_add_error(qts, props);

    g_assert_nonnull(desc);
    g_assert_true(g_str_has_prefix(desc, "memory backend 'm0': "));
    g_assert_nonnull(strstr(desc, "Cannot allocate memory"));
    qtest_quit(qts);
}

static void kvm_properties_are_fixed(void)
{
    QTestState *qts = start("-object memory-backend-guest-memfd,id=m0,"
                            "size=2M,slots=mapped");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                           " 'path': '/objects/m0', 'property': 'merge',"
                           " 'value': true } }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"), ==,
                    "merge=on: the kernel does not merge pages of a "
                    "guest_memfd; use merge=off");
    qobject_unref(rsp);
    rsp = qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                    " 'path': '/objects/m0', 'property': 'guest-memfd',"
                    " 'value': false } }");
    g_assert_true(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
    qtest_quit(qts);
}

static void kvm_cannot_be_opened(void)
{
    const char *const args[] = {
        "-machine", "none,guest-memfd=on", "-accel", "kvm,device=/no/kvm",
        "-display", "none", NULL,
    };
    g_autofree char *err = start_fails(args);

    g_assert_nonnull(strstr(err, "Could not access KVM kernel module: No such "
                            "file or directory"));
}

static void kvm_used_twice(void)
{
    const char *const args[] = {
        "-accel", "kvm", "-display", "none", "-m", "128M",
        "-machine", "pc", "-numa", "node,memdev=m0", "-numa",
        "node,memdev=m0", "-object",
        "memory-backend-guest-memfd,id=m0,size=64M", NULL,
    };
    g_autofree char *err = start_fails(args);

    assert_one_line(err, "memory backend m0 can't be used multiple times.");
}

/* A guest that flushes what it has written would be lied to, or get errors. */
static void kvm_cannot_be_flushed(void)
{
    static const struct {
        const char *device;
        const char *name;
    } cases[] = {
        { "virtio-pmem-pci,memdev=m0", "virtio-pmem" },
        { "nvme,serial=0,pmrdev=m0", "pmrdev" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const args[] = {
            "-accel", "kvm", "-display", "none", "-machine",
            "q35,guest-memfd=on", "-m", "128M,slots=1,maxmem=1G", "-object",
            "memory-backend-memfd,id=m0,size=64M", "-device",
            cases[i].device, NULL,
        };
        g_autofree char *expected = g_strdup_printf(
            "memory backend 'm0': %s flushes its memory to storage, and a "
            "guest_memfd has none; use guest-memfd=off for this backend",
            cases[i].name);
        g_autofree char *err = start_fails(args);

        assert_one_line(err, expected);
    }
}

/* The machine's switch makes every backend one, or says which cannot be. */
static void kvm_machine_switch(void)
{
    const char *const args[] = {
        "-machine", "none,guest-memfd=on", "-accel", "kvm", "-display",
        "none", "-object",
        "memory-backend-file,id=m0,size=2M,mem-path=/dev/shm", NULL,
    };
    g_autofree char *err = start_fails(args);
    QTestState *qts;
    QDict *rsp, *block;

    assert_one_line(err, "memory backend 'm0': a memory-backend-file cannot "
                    "be a guest_memfd; use memory-backend-guest-memfd, or "
                    "guest-memfd=off for this backend");

    qts = qtest_init("-accel kvm -machine none,guest-memfd=on,"
                     "guest-memfd-slots=mapped,"
                     "guest-memfd-postcopy=mapped,"
                     "guest-memfd-dirty-log=mapped -object "
                     "memory-backend-ram,id=m0,size=2M -object "
                     "memory-backend-memfd,id=m1,size=2M,guest-memfd=off");
    block = only_block(qts, &rsp);
    g_assert_cmpstr(qdict_get_str(block, "memdev"), ==, "m0");
    g_assert_cmpstr(qdict_get_str(block, "slots-policy"), ==, "mapped");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(block, "postcopy"),
                                  "policy"), ==, "mapped");
    g_assert_cmpstr(qdict_get_str(block, "dirty-log-policy"), ==, "mapped");
    qobject_unref(rsp);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        const char *props;
    } spellings[] = {
        { "own-type", "'qom-type': 'memory-backend-guest-memfd', 'id': 'm0',"
          "'size': 2097152" },
        { "memfd", "'qom-type': 'memory-backend-memfd', 'id': 'm0',"
          "'size': 2097152, 'guest-memfd': true" },
        { "memfd-unsealed", "'qom-type': 'memory-backend-memfd', 'id': 'm0',"
          "'size': 2097152, 'guest-memfd': true, 'seal': false" },
        { "ram", "'qom-type': 'memory-backend-ram', 'id': 'm0',"
          "'size': 2097152, 'guest-memfd': true" },
    };

    g_test_init(&argc, &argv, NULL);
    accel = g_getenv("GMEM_TEST_ACCEL") ?: "tcg";

    qtest_add_func("gmem/help", test_help);
    qtest_add_func("gmem/defaults", test_defaults);
    qtest_add_func("gmem/query-empty", test_query_empty);
    qtest_add_func("gmem/type-is-always-on", test_type_is_always_on);
    qtest_add_data_func("gmem/slots-of-other-memory", "slots",
                        test_other_memory);
    qtest_add_data_func("gmem/postcopy-of-other-memory", "postcopy",
                        test_other_memory);
    qtest_add_data_func("gmem/dirty-log-of-other-memory", "dirty-log",
                        test_other_memory);
    for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
        bool kvm = g_str_equal(accel, "kvm");
        g_autofree char *path = g_strdup_printf("gmem/%s/%s", accel,
                                                spellings[i].path);

        qtest_add_data_func(path, spellings[i].props,
                            kvm ? kvm_works : tcg_refused);
    }
    if (g_str_equal(accel, "tcg")) {
        qtest_add_func("gmem/tcg/machine", tcg_machine_refused);
        if (g_str_equal(qtest_get_arch(), "x86_64")) {
            qtest_add_func("gmem/tcg/confidential", tcg_confidential_refused);
            qtest_add_func("gmem/tcg/protected", tcg_protected_refused);
            qtest_add_func("gmem/protected-help", test_protected_help);
        }
    } else {
        qtest_add_func("gmem/kvm/memdev", kvm_memdev);
        qtest_add_func("gmem/kvm/host-interfaces", kvm_host_interfaces);
        qtest_add_func("gmem/kvm/refusals", kvm_refusals);
        qtest_add_func("gmem/kvm/larger-than-memory", kvm_larger_than_memory);
        qtest_add_func("gmem/kvm/prealloc-enomem", kvm_prealloc_enomem);
        qtest_add_func("gmem/kvm/properties-are-fixed",
                       kvm_properties_are_fixed);
        qtest_add_func("gmem/kvm/cannot-be-opened", kvm_cannot_be_opened);
        qtest_add_func("gmem/kvm/used-twice", kvm_used_twice);
        qtest_add_func("gmem/kvm/cannot-be-flushed", kvm_cannot_be_flushed);
        qtest_add_func("gmem/kvm/machine-switch", kvm_machine_switch);
    }
    return g_test_run();
}
