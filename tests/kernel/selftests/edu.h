/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QEMU's educational PCI device behind vfio-pci and iommufd: a DMA engine that
 * reads and writes by I/O address, so that translations can be looked at.
 */
#ifndef GMEM_EDU_H
#define GMEM_EDU_H

#include <dirent.h>
#include <linux/vfio.h>

#include "vm.h"

#define IOAS_FIXED	1
#define IOAS_WRITE	2
#define IOAS_READ	4

#define EDU_SCRATCH	0x4000000ul	/* where edu_read() collects */
#define EDU_BYTES	256		/* that it moves at a time */

struct edu {
	int device, iommufd;
	off_t bar;
	uint8_t *scratch;
	uint32_t scratch_ioas;
};

static inline int iommu_ioctl(int fd, int cmd, void *arg)
{
	return ioctl(fd, _IO(';', cmd), arg);
}

static inline uint32_t ioas_alloc(int iommufd)
{
	uint32_t arg[3] = { sizeof(arg) };

	if (iommu_ioctl(iommufd, 0x81, arg)) {
		fatal("IOMMU_IOAS_ALLOC");
	}
	return arg[2];
}

static inline int ioas_destroy(int iommufd, uint32_t ioas)
{
	uint32_t arg[2] = { sizeof(arg), ioas };

	return iommu_ioctl(iommufd, 0x80, arg);
}

static inline int ioas_map_file(int iommufd, uint32_t ioas, int fd,
				uint64_t start, uint64_t length, uint64_t iova)
{
	struct {
		uint32_t size, flags, ioas_id;
		int32_t fd;
		uint64_t start, length, iova;
	} arg = { sizeof(arg), IOAS_FIXED | IOAS_WRITE | IOAS_READ, ioas, fd,
		  start, length, iova };

	return iommu_ioctl(iommufd, 0x8f, &arg);
}

static inline int ioas_map(int iommufd, uint32_t ioas, void *p,
			   uint64_t length, uint64_t iova)
{
	struct {
		uint32_t size, flags, ioas_id, reserved;
		uint64_t user_va, length, iova;
	} arg = { sizeof(arg), IOAS_FIXED | IOAS_WRITE | IOAS_READ, ioas, 0,
		  (uintptr_t)p, length, iova };

	return iommu_ioctl(iommufd, 0x85, &arg);
}

static inline int ioas_copy(int iommufd, uint32_t dst, uint32_t src,
			    uint64_t length, uint64_t dst_iova,
			    uint64_t src_iova)
{
	struct {
		uint32_t size, flags, dst, src;
		uint64_t length, dst_iova, src_iova;
	} arg = { sizeof(arg), IOAS_FIXED | IOAS_WRITE | IOAS_READ, dst, src,
		  length, dst_iova, src_iova };

	return iommu_ioctl(iommufd, 0x83, &arg);
}

static inline int ioas_unmap(int iommufd, uint32_t ioas, uint64_t iova,
			     uint64_t length)
{
	struct {
		uint32_t size, ioas_id;
		uint64_t iova, length;
	} arg = { sizeof(arg), ioas, iova, length };

	return iommu_ioctl(iommufd, 0x86, &arg);
}

static inline int edu_attach(struct edu *edu, uint32_t ioas)
{
	uint32_t arg[3] = { sizeof(arg), 0, ioas };

	return ioctl(edu->device, _IO(';', 100 + 19), arg);
}

static inline int edu_detach(struct edu *edu)
{
	uint32_t arg[2] = { sizeof(arg), 0 };

	return ioctl(edu->device, _IO(';', 100 + 20), arg);
}

static inline void edu_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		fatal("%s", path);
	}
	close(fd);
}

/* The first entry of a folder that begins with @prefix, or none. */
static inline int first_entry(const char *folder, const char *prefix,
			      char *name, size_t size)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int found = 0;

	while (dir && !found && (entry = readdir(dir))) {
		if (!strncmp(entry->d_name, prefix, strlen(prefix))) {
			snprintf(name, size, "%s", entry->d_name);
			found = 1;
		}
	}
	if (dir) {
		closedir(dir);
	}
	return found;
}

static inline int edu_is(const char *bdf)
{
	char path[320], id[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", bdf);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		if (read(fd, id, sizeof(id) - 1) < 0) {
			id[0] = 0;
		}
		close(fd);
	}
	return !strncmp(id, "0x11e8", 6);
}

/* Bind the device to vfio-pci and open it; if that cannot be, say why. */
static inline const char *edu_find(struct edu *edu)
{
	char bdf[256] = "", path[640], name[256];
	DIR *dir = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	struct vfio_region_info info = { .argsz = sizeof(info) };
	uint32_t bind[4] = { sizeof(bind) };
	uint16_t command = 6;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && edu_is(entry->d_name)) {
			snprintf(bdf, sizeof(bdf), "%s", entry->d_name);
		}
	}
	if (dir) {
		closedir(dir);
	}
	edu->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (!bdf[0] || edu->iommufd < 0) {
		return "no edu device, or no /dev/iommu";
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override",
		 bdf);
	edu_write_file(path, "vfio-pci");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", bdf);
	if (access(path, F_OK)) {
		edu_write_file("/sys/bus/pci/drivers_probe", bdf);
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	if (!first_entry(path, "vfio", name, sizeof(name))) {
		return "vfio-pci does not take the edu device: no IOMMU?";
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	edu->device = open(path, O_RDWR | O_CLOEXEC);
	bind[2] = edu->iommufd;
	if (edu->device < 0 ||
	    ioctl(edu->device, _IO(';', 100 + 18), bind)) {
		fatal("%s", path);
	}
	info.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &info) ||
	    pwrite(edu->device, &command, 2, info.offset + 4) != 2) {
		fatal("PCI command register");
	}
	info.index = 0;
	if (ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &info)) {
		fatal("BAR 0");
	}
	edu->bar = info.offset;
	edu->scratch = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return NULL;
}

/* The same for a program that is nothing without the device. */
static inline void edu_open(struct edu *edu)
{
	const char *reason = edu_find(edu);

	if (reason) {
		skip_all(reason);
	}
}

/* Every address space the device works in needs the page it collects in. */
static inline void edu_scratch(struct edu *edu, uint32_t ioas)
{
	if (ioas_map(edu->iommufd, ioas, edu->scratch, PAGE, EDU_SCRATCH)) {
		fatal("IOMMU_IOAS_MAP");
	}
}

static inline void edu_dma(struct edu *edu, uint32_t src, uint32_t dst,
			   uint32_t command)
{
	const uint32_t reg[][2] = {
		{ 0x80, src }, { 0x88, dst }, { 0x90, EDU_BYTES },
		{ 0x98, command | 1 },
	};
	uint32_t value = 1;

	for (int i = 0; i < 4; i++) {
		if (pwrite(edu->device, &reg[i][1], 4, edu->bar + reg[i][0])
		    != 4) {
			fatal("edu register");
		}
	}
	while (value & 1) {
		usleep(2000);
		if (pread(edu->device, &value, 4, edu->bar + 0x98) != 4) {
			fatal("edu register");
		}
	}
}

/* What the device reads at @iova: the first byte, from EDU_BYTES of them. */
static inline int edu_read(struct edu *edu, uint64_t iova)
{
	edu->scratch[0] = 0xee;
	edu_dma(edu, EDU_SCRATCH, 0x40000, 0);
	edu_dma(edu, iova, 0x40000, 0);
	edu_dma(edu, 0x40000, EDU_SCRATCH, 2);
	return edu->scratch[0];
}

/* Let the device write a byte, and more of the kind, at @iova. */
static inline void edu_write(struct edu *edu, uint64_t iova, uint8_t byte)
{
	memset(edu->scratch, byte, EDU_BYTES);
	edu_dma(edu, EDU_SCRATCH, 0x40000, 0);
	edu_dma(edu, 0x40000, iova, 2);
}

#endif
