/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * prealloc MIB: what it costs to allocate a bound guest_memfd ahead, and what
 * is left to pay when the guest or the VMM then touches its pages.  Raw KVM,
 * so that nothing but the kernel is measured.
 *
 * fallocate() allocates but does not zero; MADV_POPULATE_WRITE allocates,
 * zeroes and fills the VMM's page table.  One line a phase: METHOD THREADS
 * TOUCHER PHASE NANOSECONDS, the last for each page; marks 1 and 2 for
 * bench/count.c around each.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define GUEST_BASE (16UL << 20)
#define MAX_THREADS 2
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Missing in the headers of older systems; see Linux 6.18. */
struct gmem_create {
    uint64_t size, flags, reserved[6];
};
struct gmem_region {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
    uint32_t guest_memfd, pad1;
    uint64_t pad2[14];
};
#define GMEM_CREATE _IOWR(KVMIO, 0xd4, struct gmem_create)
#define GMEM_SET_REGION _IOW(KVMIO, 0x49, struct gmem_region)
#define GMEM_MMAP_SHARED 3
#define GMEM_SLOT (1 << 2)

typedef enum Method { NONE, FALLOCATE, POPULATE } Method;
typedef enum Toucher { GUEST, HOST } Toucher;

static const char *const method_names[] = { "none", "fallocate", "populate" };
static const char *const toucher_names[] = { "guest", "host" };

/* Writes a byte to each of %ecx pages from %esi on, then leaves the guest. */
static const uint8_t guest_code[] = {
    0xc6, 0x06, 0x01,                   /* 1: movb $1, (%esi)     */
    0x81, 0xc6, 0x00, 0x10, 0x00, 0x00, /*    add $0x1000, %esi   */
    0x49,                               /*    dec %ecx            */
    0x75, 0xf4,                         /*    jnz 1b              */
    0xe6, 0xf4,                         /*    out %al, $0xf4      */
};

typedef struct Vm {
    int vm, memfd, vcpus[MAX_THREADS];
    struct kvm_run *run;
    char *code, *memory;
    size_t size;
} Vm;

typedef struct Share {
    Vm *vm;
    void (*work)(struct Share *share);
    size_t offset, size;
    int index;
    pthread_t thread;
} Share;

/* For bench/count.c; nothing to a processor. */
#define MARK(n) asm volatile("nopl 0x676d6500 + " #n "(%%rax)" ::: "memory")

static long check(long result, const char *what)
{
    if (result < 0) {
        err(1, "%s", what);
    }
    return result;
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static void create_memory(Vm *vm)
{
    struct gmem_create create = { .size = vm->size, .flags = GMEM_MMAP_SHARED };
    struct gmem_region code = { .slot = 0, .memory_size = PAGE };
    struct gmem_region ram = {
        .slot = 1, .flags = GMEM_SLOT, .guest_phys_addr = GUEST_BASE,
        .memory_size = vm->size,
    };

    vm->memfd = check(ioctl(vm->vm, GMEM_CREATE, &create), "guest_memfd");
    vm->memory = mmap(NULL, vm->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                      vm->memfd, 0);
    vm->code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm->memory == MAP_FAILED || vm->code == MAP_FAILED) {
        err(1, "mmap");
    }
    memcpy(vm->code, guest_code, sizeof(guest_code));
    code.userspace_addr = (uintptr_t)vm->code;
    ram.userspace_addr = (uintptr_t)vm->memory;
    ram.guest_memfd = vm->memfd;
    check(ioctl(vm->vm, GMEM_SET_REGION, &code), "memslot");
    check(ioctl(vm->vm, GMEM_SET_REGION, &ram), "bound memslot");
}

/* 32-bit code, flat segments, no paging: only KVM's page tables count. */
static void create_vcpu(Vm *vm, int index)
{
    struct kvm_sregs sregs;
    int vcpu = check(ioctl(vm->vm, KVM_CREATE_VCPU, (long)index), "vcpu");

    check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "get sregs");
    sregs.cr0 |= 1;
    sregs.cs.base = 0;
    sregs.cs.limit = 0xffffffff;
    sregs.cs.g = sregs.cs.db = 1;
    sregs.ds = sregs.es = sregs.ss = sregs.cs;
    sregs.cs.type = 11;
    sregs.ds.type = sregs.es.type = sregs.ss.type = 3;
    sregs.cs.selector = 8;
    sregs.ds.selector = sregs.es.selector = sregs.ss.selector = 16;
    check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "set sregs");
    vm->vcpus[index] = vcpu;
}

static void vm_create(Vm *vm, int kvm, size_t size, int threads)
{
    vm->size = size;
    vm->vm = check(ioctl(kvm, KVM_CREATE_VM, 0UL), "vm");
    create_memory(vm);
    for (int i = 0; i < threads; i++) {
        create_vcpu(vm, i);
    }
}

static void vm_destroy(Vm *vm, int threads)
{
    for (int i = 0; i < threads; i++) {
        close(vm->vcpus[i]);
    }
    munmap(vm->memory, vm->size);
    munmap(vm->code, PAGE);
    close(vm->memfd);
    close(vm->vm);
}

static void do_fallocate(Share *share)
{
    while (fallocate(share->vm->memfd, FALLOC_FL_KEEP_SIZE, share->offset,
                     share->size)) {
        if (errno != EINTR) {
            err(1, "fallocate");
        }
    }
}

static void do_populate(Share *share)
{
    check(madvise(share->vm->memory + share->offset, share->size,
                  MADV_POPULATE_WRITE), "MADV_POPULATE_WRITE");
}

static void touch_by_host(Share *share)
{
    volatile char *at = share->vm->memory + share->offset;

    for (size_t done = 0; done < share->size; done += PAGE) {
        at[done] = 1;
    }
}

static void touch_by_guest(Share *share)
{
    int vcpu = share->vm->vcpus[share->index];
    struct kvm_regs regs = {
        .rsi = GUEST_BASE + share->offset, .rcx = share->size / PAGE,
        .rflags = 2,
    };

    check(ioctl(vcpu, KVM_SET_REGS, &regs), "set regs");
    check(ioctl(vcpu, KVM_RUN, 0), "run");
    check(ioctl(vcpu, KVM_GET_REGS, &regs), "get regs");
    if (regs.rcx) {
        errx(1, "the guest left early");
    }
}

static void *start(void *share)
{
    ((Share *)share)->work(share);
    return NULL;
}

/* ns a page for the whole memory, split among the threads */
static double in_threads(Vm *vm, int threads, void (*work)(Share *))
{
    Share shares[MAX_THREADS];
    double begin = now_ns();

    MARK(1);
    for (int i = 0; i < threads; i++) {
        shares[i] = (Share) {
            .vm = vm, .work = work, .index = i, .size = vm->size / threads,
            .offset = vm->size / threads * i,
        };
        pthread_create(&shares[i].thread, NULL, start, &shares[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
    }
    MARK(2);
    return (now_ns() - begin) / (vm->size / PAGE);
}

static void measure(int kvm, size_t size, Method method, int threads,
                    Toucher toucher)
{
    static void (*const prealloc[])(Share *) = {
        [FALLOCATE] = do_fallocate, [POPULATE] = do_populate,
    };
    static void (*const touch[])(Share *) = {
        [GUEST] = touch_by_guest, [HOST] = touch_by_host,
    };
    Vm vm;

    vm_create(&vm, kvm, size, threads);
    for (int phase = method == NONE; phase < 2; phase++) {
        double ns = in_threads(&vm, threads,
                               phase ? touch[toucher] : prealloc[method]);

        printf("%s %d %s %s %.0f\n", method_names[method], threads,
               toucher_names[toucher], phase ? "touch" : "prealloc", ns);
        fflush(stdout);
    }
    vm_destroy(&vm, threads);
}

int main(int argc, char **argv)
{
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 0) << 20 : 0;
    int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");

    if (!size) {
        errx(1, "usage: prealloc MIB");
    }
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        for (Toucher toucher = GUEST; toucher <= HOST; toucher++) {
            for (Method method = NONE; method <= POPULATE; method++) {
                measure(kvm, size, method, threads, toucher);
            }
        }
    }
    return 0;
}
