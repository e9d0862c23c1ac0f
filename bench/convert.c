/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * convert CHUNK SIZE PROCESSORS: what it costs the kernel when a guest converts
 * SIZE bytes CHUNK by CHUNK: raw KVM, the ioctls in the order in which QEMU's
 * own code for confidential guests makes them.  There is nothing else in it,
 * so no VMM with two backings can be cheaper.
 *
 * All pages are touched on the side that they leave.  One JSON line each way;
 * marks 1 and 2 for bench/count.c around each.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdbool.h>

#include "vm.h"

#define MAP_GPA_RANGE 12
#define MAP_GPA_PRIVATE 16

/* Calls for each chunk of [ebx, ebp): edi is its size, ecx in pages */
static const uint8_t loop[] = {
    0xb8, MAP_GPA_RANGE, 0, 0, 0,       /* 1: mov $12, %eax   */
    0x0f, 0x01, 0xd9,                   /*    vmmcall         */
    0x01, 0xfb,                         /*    add %edi, %ebx  */
    0x39, 0xeb,                         /*    cmp %ebp, %ebx  */
    0x72, 0xf2,                         /*    jb 1b           */
    0xf4,                               /*    hlt             */
};
enum { CODE_LOOP = 128 };

static struct vm vm;
static int shared_fd, private_fd;
static uint64_t chunk, size, nr_cpus;
static bool to_private;

#define MARK(n) __asm__ volatile("nopl %c0(%%rax)" : : "i"(0x676d6500 + (n)))

static void convert(uint64_t gpa, uint64_t bytes, bool private)
{
    struct gm_attributes attributes = {
        gpa, bytes, private ? GM_ATTR_PRIVATE : 0
    };

    if (ioctl(vm.fd, GM_SET_ATTRIBUTES, &attributes) ||
        punch(private ? shared_fd : private_fd, gpa - MEM_GPA, bytes)) {
        err(1, "a conversion");
    }
}

static void run_to_end(struct vcpu *vcpu)
{
    for (;;) {
        if (ioctl(vcpu->fd, KVM_RUN, 0)) {
            err(1, "KVM_RUN");
        }
        if (vcpu->run->exit_reason == KVM_EXIT_HLT) {
            return;
        }
        if (vcpu->run->exit_reason != KVM_EXIT_HYPERCALL) {
            errx(1, "exit %u", vcpu->run->exit_reason);
        }
        convert(vcpu->run->hypercall.args[0],
                vcpu->run->hypercall.args[1] * PAGE,
                vcpu->run->hypercall.args[2] & MAP_GPA_PRIVATE);
        vcpu->run->hypercall.ret = 0;
    }
}

static void begin(struct vcpu *vcpu, int code, uint64_t index)
{
    uint64_t share = size / nr_cpus;
    struct kvm_regs regs = {
        .rip = CODE_GPA + code, .rflags = 2,
        .rbx = MEM_GPA + index * share, .rdi = chunk,
        .rbp = MEM_GPA + (index + 1) * share,
        .rdx = to_private ? MAP_GPA_PRIVATE : 0,
    };

    regs.rcx = code == CODE_LOOP ? chunk / PAGE : regs.rbp;
    if (ioctl(vcpu->fd, KVM_SET_REGS, &regs)) {
        err(1, "KVM_SET_REGS");
    }
}

static void *one_cpu(void *vcpu)
{
    run_to_end(vcpu);
    return NULL;
}

static void all_cpus(int code)
{
    pthread_t threads[2];

    for (uint64_t i = 0; i < nr_cpus; i++) {
        begin(&vm.vcpu[i], code, i);
        pthread_create(&threads[i], NULL, one_cpu, &vm.vcpu[i]);
    }
    for (uint64_t i = 0; i < nr_cpus; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void set_up(void)
{
    struct kvm_enable_cap hypercalls = {
        .cap = KVM_CAP_EXIT_HYPERCALL, .args = { 1 << MAP_GPA_RANGE },
    };
    void *memory;

    vm_init(&vm, GM_SW_PROTECTED_VM, nr_cpus);
    memcpy(vm.code + CODE_LOOP, loop, sizeof(loop));
    shared_fd = memfd_create("shared", 0);
    private_fd = gmem_create(&vm, size, 0);
    if (shared_fd < 0 || ftruncate(shared_fd, size) || private_fd < 0) {
        err(1, "memory");
    }
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
    if (memory == MAP_FAILED ||
        set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, size, memory,
                   private_fd, 0, NULL) ||
        ioctl(vm.fd, KVM_ENABLE_CAP, &hypercalls)) {
        err(1, "a VM");
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        errx(1, "usage: convert CHUNK SIZE PROCESSORS");
    }
    chunk = strtoull(argv[1], NULL, 0);
    size = strtoull(argv[2], NULL, 0);
    nr_cpus = strtoull(argv[3], NULL, 0);
    set_up();
    for (int way = 0; way < 2; way++) {
        all_cpus(CODE_SWEEP);
        to_private = !way;
        MARK(1);
        all_cpus(CODE_LOOP);
        MARK(2);
        printf("{\"kind\": \"ioctls\", \"to\": \"%s\", \"chunk\": %lu, "
               "\"size\": %lu, \"processors\": %lu}\n",
               to_private ? "private" : "shared", chunk, size, nr_cpus);
    }
    return 0;
}
