/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * TCG plugin for the emulator of the KVM host: counts the instructions of all
 * its processors, whatever they run (the host's kernel, the VMM, the guest),
 * and says how far the count and the clock are whenever the marker
 *
 *   nopl 0x676d6500 + N(%eax)
 *
 * is executed: "mark N INSTRUCTIONS NANOSECONDS".
 */
#include <glib.h>
#include <qemu/qemu-plugin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static const uint8_t marker[] = { 0x0f, 0x1f, 0x80 };
static const uint8_t magic[] = { 0x65, 0x6d, 0x67 };

static qemu_plugin_u64 executed;

static void at_mark(unsigned int vcpu, void *number)
{
    struct timespec now;
    char line[80];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(line, sizeof(line), "mark %u %" PRIu64 " %" PRIu64 "\n",
             GPOINTER_TO_UINT(number), qemu_plugin_u64_sum(executed),
             now.tv_sec * UINT64_C(1000000000) + now.tv_nsec);
    qemu_plugin_outs(line);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);

    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint8_t code[7];

        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
            insn, QEMU_PLUGIN_INLINE_ADD_U64, executed, 1);
        if (qemu_plugin_insn_data(insn, code, sizeof(code)) == sizeof(code) &&
            !memcmp(code, marker, sizeof(marker)) &&
            !memcmp(code + 4, magic, sizeof(magic))) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                insn, at_mark, QEMU_PLUGIN_CB_NO_REGS,
                GUINT_TO_POINTER(code[3]));
        }
    }
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    executed = qemu_plugin_scoreboard_u64(
        qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
