/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU's "edu" device, which copies between guest memory and a buffer of its
 * own by DMA.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "guest.h"

#define PAGE 4096
#define SEARCHED (32 * MIB)

#define PCI_COMMAND 4
#define PCI_COMMAND_MEMORY_AND_MASTER 6

#define EDU_BAR_SIZE (1 << 20)
#define EDU_DMA_SOURCE 0x80
#define EDU_DMA_DESTINATION 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98
#define EDU_DMA_RUN 1
#define EDU_DMA_TO_MEMORY 2
#define EDU_BUFFER 0x40000

static volatile uint8_t *map_device(const char *device)
{
    uint16_t command = PCI_COMMAND_MEMORY_AND_MASTER;
    char path[128];
    void *bar;
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device);
    fd = open(path, O_RDWR);
    if (pwrite(fd, &command, sizeof(command), PCI_COMMAND) < 0) {
        return MAP_FAILED;
    }
    close(fd);
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", device);
    fd = open(path, O_RDWR);
    bar = mmap(NULL, EDU_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return bar;
}

static void copy(volatile uint8_t *bar, uint64_t source, uint64_t destination,
                 uint32_t direction)
{
    *(volatile uint64_t *)(bar + EDU_DMA_SOURCE) = source;
    *(volatile uint64_t *)(bar + EDU_DMA_DESTINATION) = destination;
    *(volatile uint32_t *)(bar + EDU_DMA_COUNT) = PAGE;
    *(volatile uint32_t *)(bar + EDU_DMA_COMMAND) = EDU_DMA_RUN | direction;
    while (*(volatile uint32_t *)(bar + EDU_DMA_COMMAND) & EDU_DMA_RUN) {
        usleep(10000);
    }
}

/* The next page of @pages whose guest-physical address is @lowest or more */
static uint8_t *next_page(uint8_t *page, const uint8_t *end,
                          unsigned long lowest)
{
    for (; page < end; page += PAGE) {
        *page = 1;
        if (guest_physical(page) >= lowest) {
            return page;
        }
    }
    return NULL;
}

bool copy_by_dma(const char *device, unsigned long lowest)
{
    volatile uint8_t *bar = map_device(device);
    uint8_t *pages = mmap(NULL, SEARCHED, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *end = pages + SEARCHED;
    uint8_t *from, *to = NULL;

    if (bar == MAP_FAILED || pages == MAP_FAILED) {
        return false;
    }
    from = next_page(pages, end, lowest);
    if (from) {
        to = next_page(from + PAGE, end, lowest);
    }
    if (!to) {
        return false;
    }
    for (int i = 0; i < PAGE; i++) {
        from[i] = i * 151 >> 3;
    }
    copy(bar, guest_physical(from), EDU_BUFFER, 0);
    copy(bar, EDU_BUFFER, guest_physical(to), EDU_DMA_TO_MEMORY);
    if (memcmp(from, to, PAGE)) {
        printf("gmem-guest: CORRUPT: not what DMA read did it write\n");
    }
    printf("gmem-guest: dma: 0x%lx 0x%lx\n", guest_physical(from),
           guest_physical(to));
    munmap(pages, SEARCHED);
    munmap((void *)bar, EDU_BAR_SIZE);
    return true;
}
