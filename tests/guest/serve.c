/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a guest does when it is told to (gmem.then=serve): one command a line
 * on the second serial port, one answer a line on the console,
 * "gmem-guest: COMMAND: ANSWER", or "gmem-guest: FAILED: COMMAND: WHY".
 *
 *   fill PERCENT                 anew, that much of MemAvailable
 *   verify                       reads back what was filled
 *   release                      frees what was filled
 *   sum PATH [direct]            reads all of a file or device
 *   write PATH MIB [direct]      writes so much of what looks random
 *   mount TYPE SOURCE DIR [OPTIONS]
 *   net DEVICE ADDRESS           brings a network device up
 *   echo ADDRESS PORT MIB        sends so much over TCP, and gets it back
 *   show PATH KEY                what stands after KEY in a file
 *   put TEXT PATH                writes TEXT to a file
 *   dma DEVICE LOWEST            the "edu" at this PCI address copies a page to
 *                                another, both at LOWEST or above
 *   victim N                     N children read one page of theirs until signals
 *                                kill them; where that page is, is told first
 *   convert MIB private|shared   so much of its memory turns; fills, reads back
 *   churn MIB                    a thread does that for ever, there and back ...
 *   rest                         ... up to this; how often it did
 *   aim PATH                     reads a page directly into what was converted
 *   touch THREADS PAGES WORKERS  threads read so many pages each, out of order:
 *                                how long an access took, and what workers did
 *                                meanwhile
 *
 * sum and write answer with a number of bytes and their CRC-32.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

#ifdef __aarch64__
#define SECOND_PORT "/dev/ttyAMA1"
#else
#define SECOND_PORT "/dev/ttyS1"
#endif
#define MAX_WORDS 8
#define BUFFER_SIZE (4 * MIB)
/* Fits the socket buffers of both sides: who sends it need not read meanwhile */
#define ECHO_SIZE (64UL << 10)

static uint8_t buffer[BUFFER_SIZE] __attribute__((aligned(4096)));
static uint8_t returned[ECHO_SIZE];

/* The same as zlib's */
static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t size)
{
    static uint32_t table[256];

    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t entry = i;

            for (int bit = 0; bit < 8; bit++) {
                entry = entry >> 1 ^ (entry & 1 ? 0xedb88320 : 0);
            }
            table[i] = entry;
        }
    }
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc = crc >> 8 ^ table[(uint8_t)(crc ^ data[i])];
    }
    return ~crc;
}

/* Fills the first @size bytes of the buffer with what it never held before. */
static void scramble(size_t size)
{
    static uint64_t state;
    uint64_t *words = (uint64_t *)buffer;

    if (!state) {
        state = time(NULL);
    }
    for (size_t i = 0; i < size / sizeof(*words); i++) {
        state += 0x9e3779b97f4a7c15ULL;
        words[i] = (state ^ state >> 31) * 0xbf58476d1ce4e5b9ULL;
    }
}

/* read() or write() until @size bytes are through */
#define ALL_OF(io, fd, data, size) ({                                   \
    size_t done_ = 0;                                                   \
    ssize_t now_;                                                       \
    while (done_ < (size) &&                                            \
           (now_ = io((fd), (data) + done_, (size) - done_)) > 0) {     \
        done_ += now_;                                                  \
    }                                                                   \
    done_ == (size); })

/* Each do_*(): its words, the first being its name; false: see errno. */

static bool do_fill(char **words)
{
    return fill_memory(strtoul(words[1], NULL, 0));
}

static bool do_verify(char **words)
{
    return verify_memory();
}

static bool do_release(char **words)
{
    release_memory();
    printf("gmem-guest: release: done\n");
    return true;
}

static bool do_sum(char **words)
{
    int fd = open(words[1], O_RDONLY | (words[2] ? O_DIRECT : 0));
    uint64_t total = 0;
    uint32_t crc = 0;
    ssize_t size;

    if (fd < 0) {
        return false;
    }
    while ((size = read(fd, buffer, BUFFER_SIZE)) > 0) {
        crc = crc32(crc, buffer, size);
        total += size;
    }
    close(fd);
    if (size < 0) {
        return false;
    }
    printf("gmem-guest: sum: %lu %08x\n", total, crc);
    return true;
}

static bool do_write(char **words)
{
    uint64_t size = strtoul(words[2], NULL, 0) * MIB;
    int fd = open(words[1], O_WRONLY | O_CREAT | (words[3] ? O_DIRECT : 0),
                  0644);
    uint32_t crc = 0;

    if (fd < 0) {
        return false;
    }
    for (uint64_t done = 0; done < size; done += MIB) {
        scramble(MIB);
        crc = crc32(crc, buffer, MIB);
        if (!ALL_OF(write, fd, buffer, MIB)) {
            close(fd);
            return false;
        }
    }
    if (fsync(fd) | close(fd)) {
        return false;
    }
    printf("gmem-guest: write: %lu %08x\n", size, crc);
    return true;
}

static bool do_mount(char **words)
{
    mkdir(words[3], 0755);
    if (mount(words[2], words[3], words[1], 0, words[4])) {
        return false;
    }
    printf("gmem-guest: mount: done\n");
    return true;
}

static bool do_net(char **words)
{
    struct ifreq request = {};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool up;

    strncpy(request.ifr_name, words[1], IFNAMSIZ - 1);
    address->sin_family = AF_INET;
    inet_pton(AF_INET, words[2], &address->sin_addr);
    up = ioctl(fd, SIOCSIFADDR, &request) == 0;
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    up = up && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    if (up) {
        printf("gmem-guest: net: up\n");
    }
    return up;
}

static bool do_echo(char **words)
{
    uint64_t size = strtoul(words[3], NULL, 0) * MIB;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(strtoul(words[2], NULL, 0)),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, words[1], &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        close(fd);
        return false;
    }
    for (uint64_t done = 0; done < size; done += ECHO_SIZE) {
        scramble(ECHO_SIZE);
        if (!ALL_OF(write, fd, buffer, ECHO_SIZE) ||
            !ALL_OF(read, fd, returned, ECHO_SIZE)) {
            close(fd);
            return false;
        }
        if (memcmp(buffer, returned, ECHO_SIZE)) {
            printf("gmem-guest: CORRUPT: not what was sent came back\n");
            break;
        }
    }
    close(fd);
    printf("gmem-guest: echo: %lu\n", size);
    return true;
}

static bool do_show(char **words)
{
    printf("gmem-guest: show: %s\n", value_in(words[1], words[2]));
    return true;
}

static bool do_put(char **words)
{
    int fd = open(words[2], O_WRONLY);
    bool done = fd >= 0 && ALL_OF(write, fd, words[1], strlen(words[1]));

    close(fd);
    if (done) {
        printf("gmem-guest: put: done\n");
    }
    return done;
}

static bool do_dma(char **words)
{
    return copy_by_dma(words[1], strtoul(words[2], NULL, 0));
}

static pid_t fork_reader(const volatile uint64_t *word)
{
    pid_t child = fork();

    if (child) {
        return child;
    }
    signal(SIGBUS, SIG_DFL);
    while (*word) {
    }
    _exit(1);
}

static bool do_victim(char **words)
{
    int nr_readers = atoi(words[1]), status = 0;
    volatile uint64_t *word = mmap(NULL, sysconf(_SC_PAGESIZE),
                                   PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    *word = 1;
    for (int i = 0; i < nr_readers; i++) {
        if (fork_reader(word) < 0) {
            return false;
        }
    }
    printf("gmem-guest: a victim is at 0x%lx\n",
           guest_physical((const void *)word));
    while (nr_readers--) {
        if (wait(&status) < 0) {
            return false;
        }
        printf("gmem-guest: victim: signal %d\n",
               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    return true;
}

static bool do_convert(char **words)
{
    if (!convert_memory(strtoul(words[1], NULL, 0),
                        !strcmp(words[2], "private"))) {
        return false;
    }
    printf("gmem-guest: convert: done\n");
    return true;
}

static bool do_churn(char **words)
{
    if (!begin_churn(strtoul(words[1], NULL, 0))) {
        return false;
    }
    printf("gmem-guest: churn: begun\n");
    return true;
}

static bool do_rest(char **words)
{
    long passes = end_churn();

    if (passes < 0) {
        return false;
    }
    printf("gmem-guest: rest: %ld\n", passes);
    return true;
}

static bool do_aim(char **words)
{
    printf("gmem-guest: aim: %s\n", strerror(read_into_memory(words[1])));
    return true;
}

static bool do_touch(char **words)
{
    return touch_memory(strtoul(words[1], NULL, 0), strtoul(words[2], NULL, 0),
                        strtoul(words[3], NULL, 0));
}

static const struct {
    const char *name;
    int min_words;
    bool (*run)(char **words);
} commands[] = {
    { "fill", 2, do_fill },
    { "verify", 1, do_verify },
    { "release", 1, do_release },
    { "sum", 2, do_sum },
    { "write", 3, do_write },
    { "mount", 4, do_mount },
    { "net", 3, do_net },
    { "echo", 4, do_echo },
    { "show", 3, do_show },
    { "put", 3, do_put },
    { "dma", 3, do_dma },
    { "victim", 2, do_victim },
    { "convert", 3, do_convert },
    { "churn", 2, do_churn },
    { "rest", 1, do_rest },
    { "aim", 2, do_aim },
    { "touch", 4, do_touch },
};

static bool run(char *line)
{
    char *words[MAX_WORDS + 1] = {};
    int nr_words = 0;

    for (char *word = strtok(line, " \n"); word && nr_words < MAX_WORDS;
         word = strtok(NULL, " \n")) {
        words[nr_words++] = word;
    }
    for (size_t i = 0; nr_words && i < sizeof(commands) / sizeof(*commands);
         i++) {
        if (!strcmp(words[0], commands[i].name) &&
            nr_words >= commands[i].min_words) {
            return commands[i].run(words);
        }
    }
    errno = EINVAL;
    return false;
}

void serve(void)
{
    struct termios settings;
    char line[256];
    FILE *port;

    mkdir("/dev", 0755);
    mkdir("/sys", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    port = fopen(SECOND_PORT, "r");
    if (!port || tcgetattr(fileno(port), &settings)) {
        printf("gmem-guest: FAILED: no second serial port\n");
        return;
    }
    settings.c_lflag &= ~ECHO;
    tcsetattr(fileno(port), TCSANOW, &settings);
    printf("gmem-guest: serving\n");
    while (fgets(line, sizeof(line), port)) {
        errno = 0;
        if (!run(line)) {
            printf("gmem-guest: FAILED: %s: %s\n", line, strerror(errno));
        }
    }
}
