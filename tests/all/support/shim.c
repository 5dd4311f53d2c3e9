/* Preloaded into the node: remembers what was forced to the disk, and moves the clock.
 *
 * On fsync and fdatasync of a file below $SHIM_ROOT its bytes are copied to $SHIM_DISK/files/INODE,
 * and a second name, $SHIM_DISK/held/INODE, keeps the inode's number from being used again. On fsync
 * of a folder its names are written to $SHIM_DISK/folders/PATH (slashes as ':'), a line each:
 * "INODE KIND NAME". What is in none of them a power cut may take. Both appear by a rename, so that
 * whoever looks after a SIGKILL finds either the old or the new.
 *
 * $SHIM_CONTROL, eight-byte signed numbers: 0: milliseconds added to CLOCK_REALTIME; 1: when not 0,
 * the errno that fsync and fdatasync fail with.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *control;
static const char *root, *disk;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SHIM_CONTROL");
    root = getenv("SHIM_ROOT");
    disk = getenv("SHIM_DISK");
    if (path != NULL) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        void *map = file < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
        if (map == MAP_FAILED) {
            fprintf(stderr, "shim: %s: %s\n", path, strerror(errno));
            _exit(99);
        }
        control = map;
        close(file);
    }
}

static void fault(const char *what) {
    fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

/* The bytes of a file as they are now. */
static void keep_file(int from, const struct stat *of) {
    char part[PATH_MAX], place[PATH_MAX], held[PATH_MAX], self[64];
    static char buffer[1 << 16];
    snprintf(part, sizeof part, "%s/part", disk);
    snprintf(place, sizeof place, "%s/files/%ju", disk, (uintmax_t)of->st_ino);
    snprintf(held, sizeof held, "%s/held/%ju", disk, (uintmax_t)of->st_ino);
    snprintf(self, sizeof self, "/proc/self/fd/%d", from);
    if (linkat(AT_FDCWD, self, AT_FDCWD, held, AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST)
        fault(held);
    int to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    /* Another descriptor: that of the caller may be for writing only, and keeps its position. */
    int source = open(self, O_RDONLY | O_CLOEXEC);
    if (to < 0 || source < 0) fault(part);
    ssize_t count;
    while ((count = read(source, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)count) != count) fault(part);
    if (count < 0) fault(place);
    close(source);
    close(to);
    if (rename(part, place) != 0) fault(place);
}

/* The names of a folder as they are now. */
static void keep_folder(const char *path) {
    char part[PATH_MAX], place[PATH_MAX + 16], name[PATH_MAX];
    snprintf(part, sizeof part, "%s/part", disk);
    const char *below = path + strlen(root);
    snprintf(name, sizeof name, "%s", *below == 0 ? "/" : below);
    for (char *c = name; *c; c++)
        if (*c == '/') *c = ':';
    if ((size_t)snprintf(place, sizeof place, "%s/folders/%s", disk, name) >= PATH_MAX) fault(name);
    FILE *to = fopen(part, "we");
    DIR *folder = opendir(path);
    if (to == NULL || folder == NULL) fault(part);
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            fprintf(to, "%ju %s %s\n", (uintmax_t)entry->d_ino,
                    entry->d_type == DT_DIR ? "folder" : "file", entry->d_name);
    closedir(folder);
    if (fclose(to) != 0 || rename(part, place) != 0) fault(place);
}

static void remember(int file) {
    char self[64], path[PATH_MAX];
    struct stat of;
    if (root == NULL || disk == NULL) return;
    snprintf(self, sizeof self, "/proc/self/fd/%d", file);
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    size_t prefix = strlen(root);
    if (strncmp(path, root, prefix) != 0 || (path[prefix] != '/' && path[prefix] != 0)) return;
    if (fstat(file, &of) != 0 || of.st_nlink == 0) return;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(of.st_mode))
        keep_folder(path);
    else if (S_ISREG(of.st_mode))
        keep_file(file, &of);
    pthread_mutex_unlock(&lock);
}

static int force(long call, int file) {
    if (control != NULL && control[1] != 0) {
        errno = (int)control[1];
        return -1;
    }
    if (syscall(call, file) != 0) return -1;
    remember(file);
    return 0;
}

int fsync(int file) { return force(SYS_fsync, file); }

int fdatasync(int file) { return force(SYS_fdatasync, file); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && control != NULL && control[0] != 0) {
        int64_t now = (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000 + control[0];
        time->tv_sec = (time_t)(now / 1000);
        time->tv_nsec = (now % 1000) * 1000000 + time->tv_nsec % 1000000;
    }
    return result;
}
