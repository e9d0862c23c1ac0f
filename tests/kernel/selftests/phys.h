/* SPDX-License-Identifier: GPL-2.0 */
/* Pages by their physical address: where they are, what is in them, errors. */
#ifndef GMEM_PHYS_H
#define GMEM_PHYS_H

#include <elf.h>
#include <setjmp.h>

#include "vm.h"

#define PHYS_INJECT	"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define PHYS_UPTODATE	(1 << 3)
#define PHYS_DIRTY	(1 << 4)
#define PHYS_HWPOISON	(1 << 19)

static __thread sigjmp_buf after_fault;

/* The physical address of a page that this process has touched. */
static inline uint64_t phys_of(void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8 ||
	    !(entry >> 63)) {
		fatal("pagemap");
	}
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

/* What the kernel sees at this physical address: 1, or 0 if it sees nothing. */
static inline int phys_read(uint64_t phys, void *page)
{
	int fd = open("/proc/kcore", O_RDONLY), seen = 0;
	Elf64_Ehdr head;
	Elf64_Phdr seg;

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head)) {
		fatal("/proc/kcore");
	}
	for (int i = 0; i < head.e_phnum && !seen; i++) {
		if (pread(fd, &seg, sizeof(seg),
			  head.e_phoff + i * sizeof(seg)) != sizeof(seg)) {
			fatal("/proc/kcore");
		}
		seen = seg.p_type == PT_LOAD && seg.p_paddr <= phys &&
		       phys - seg.p_paddr < seg.p_memsz &&
		       pread(fd, page, PAGE, seg.p_offset + phys - seg.p_paddr)
		       == (long)PAGE;
	}
	close(fd);
	return seen;
}

/* What /proc/kpageflags says of the page */
static inline uint64_t phys_flags(uint64_t phys)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	uint64_t flags;

	if (fd < 0 || pread(fd, &flags, 8, phys / PAGE * 8) != 8) {
		fatal("/proc/kpageflags");
	}
	close(fd);
	return flags;
}

/* Is there a page of a file that nothing has filled yet? */
static inline int phys_is_blank(uint64_t phys)
{
	const uint64_t other = 1 << 7 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 20;
	void *here = (void *)((uintptr_t)&phys & -PAGE);
	int node = 0, status;
	uint64_t flags;

	/* This makes the kernel put pages that are new on its lists. */
	syscall(SYS_move_pages, 0, 1, &here, &node, &status, 0);
	flags = phys_flags(phys);
	/* Neither SLAB, BUDDY, MMAP, ANON nor NOPAGE, but UNEVICTABLE */
	return !(flags & (other | PHYS_UPTODATE)) && flags & 1 << 18;
}

/*
 * A memory error there; false if the kernel did not note it. What the call says
 * is that a guest_memfd keeps the page.
 */
static inline int phys_error(uint64_t phys)
{
	char text[32];
	int fd = open(PHYS_INJECT, O_WRONLY);

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)phys / PAGE);
	if (fd < 0) {
		fatal(PHYS_INJECT);
	}
	(void)!write(fd, text, strlen(text));
	close(fd);
	return !!(phys_flags(phys) & PHYS_HWPOISON);
}

/*
 * A memory error in a page that is mapped here, if the kernel can inject one. It
 * tells of it by SIGBUS, after which it goes on at after_fault, and the call
 * fails, as a guest_memfd keeps the page.
 */
static inline int memory_error(void *p)
{
	if (sigsetjmp(after_fault, 1)) {
		return 1;
	}
	return !madvise(p, PAGE, 100 /* MADV_HWPOISON */) || errno == EBUSY;
}

/* Replace it, also in this mapping, which else goes on raising SIGBUS. */
static inline int replace_page(int fd, uint64_t offset, void *p)
{
	return punch(fd, offset, PAGE) ?: madvise(p, PAGE, MADV_DONTNEED);
}

/*
 * A new file whose first page was merely preallocated, and is poisoned; @phys is
 * where. It takes the page that was freed last; try until it does. -1, with @what
 * skipped, if the kernel cannot inject such errors.
 */
static inline int blank_poisoned_file(struct vm *vm, uint64_t size,
				      uint64_t *phys, const char *what)
{
	if (access(PHYS_INJECT, W_OK)) {
		skip(what, "no hwpoison-inject in debugfs");
		return -1;
	}
	for (int i = 0; i < 50; i++) {
		int fd = gmem_create(vm, size,
				     GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
		uint8_t *p = gmem_map(fd, size);

		p[0] = 1;
		*phys = phys_of(p);
		punch(fd, 0, PAGE);
		fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, PAGE);
		munmap(p, size);
		if (phys_is_blank(*phys)) {
			if (!phys_error(*phys)) {
				fatal("no memory error was injected");
			}
			return fd;
		}
		close(fd);
	}
	fatal("no page was allocated again");
}

/* Has nobody filled it? */
static inline int is_still_blank(uint64_t phys)
{
	return !(phys_flags(phys) & PHYS_UPTODATE);
}

#endif
