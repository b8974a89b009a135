/* Records what a process does to the files under one folder, and makes chosen calls fail.
 *
 * Loaded with LD_PRELOAD, below both SQLite libraries, numpy and Python. power_begin(folder, recording) starts it for one
 * folder, power_end() ends it. Every record is a header and two payloads:
 *
 *     u32 kind, u32 file, u64 at, u32 length of a, u32 length of b, a, b
 *
 * Stores into shared writable mappings are invisible to a library, so before each recorded call every mapping is
 * compared with a copy, and pages that differ are recorded as writes: the kernel may write them at any time.
 *
 * With NULL as the recording only calls are counted. power_mark(text) adds a record of the test's own. power_fail_at(n, errno, times) makes the n-th call from now on fail,
 * and the following ones until `times` failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, OPEN, WRITE, SIZE, SYNC, DIRSYNC, RENAME, UNLINK, MKDIR, MARK, GROW };
#define PAGE 4096
#define MAX_FILES 4096
#define MAX_MAPS 1024

struct header { uint32_t kind, file; uint64_t at; uint32_t a, b; };
struct file { dev_t device; ino_t inode; uint32_t id; };
struct map { char *start, *copy; size_t length; uint64_t offset; uint32_t file; int fd; };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static struct file files[MAX_FILES];
static int file_count;
static uint32_t next_id = 1;
static struct map maps[MAX_MAPS];
static int map_count;
static long calls, fail_at, fail_times;
static int fail_errno;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void die(const char *why) {
    dprintf(2, "power shim: %s\n", why);
    abort();
}

__attribute__((constructor)) static void start(void) {
    unsetenv("LD_PRELOAD"); /* processes started from here are their own business */
}

void power_end(void) {
    pthread_mutex_lock(&lock);
    root_length = 0;
    if (log_fd >= 0) REAL(close)(log_fd);
    log_fd = -1, file_count = 0, fail_times = 0;
    for (int i = 0; i < map_count; i++) free(maps[i].copy), REAL(close)(maps[i].fd);
    map_count = 0;
    pthread_mutex_unlock(&lock);
}

void power_begin(const char *folder, const char *recording) {
    power_end();
    pthread_mutex_lock(&lock);
    if (!realpath(folder, root)) die("no such folder");
    if (recording) log_fd = REAL(open)(recording, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (recording && log_fd < 0) die("can't write the recording");
    next_id = 1, calls = 0, root_length = strlen(root);
    pthread_mutex_unlock(&lock);
}

static void put(uint32_t kind, uint32_t id, uint64_t at, const void *a, size_t an, const void *b, size_t bn) {
    if (log_fd < 0) return;
    struct header h = {kind, id, at, (uint32_t)an, (uint32_t)bn};
    struct iovec parts[3] = {{&h, sizeof h}, {(void *)a, an}, {(void *)b, bn}};
    int saved = errno;
    if (REAL(writev)(log_fd, parts, 3) != (ssize_t)(sizeof h + an + bn)) die("can't write the recording");
    errno = saved;
}

static void put_text(uint32_t kind, uint32_t id, const char *a, const char *b) {
    put(kind, id, 0, a, strlen(a), b, b ? strlen(b) : 0);
}

/* The path below the root, or NULL. */
static const char *ours(const char *path, char *room) {
    if (!root_length || !path) return NULL;
    if (path[0] != '/') {
        if (!getcwd(room, PATH_MAX) || strlen(room) + strlen(path) + 2 > PATH_MAX) return NULL;
        strcat(strcat(room, "/"), path);
        path = room;
    }
    if (strncmp(path, root, root_length) || (path[root_length] != '/' && path[root_length])) return NULL;
    return path[root_length] ? path + root_length + 1 : "";
}

static const char *path_of(int folder, const char *path, char *room) {
    if (folder == AT_FDCWD || path[0] == '/') return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, room, PATH_MAX - 1);
    if (n < 0) return path;
    room[n] = 0;
    if (strlen(room) + strlen(path) + 2 > PATH_MAX) return path;
    return strcat(strcat(room, "/"), path);
}

static struct file *known(dev_t device, ino_t inode) {
    for (int i = 0; i < file_count; i++)
        if (files[i].inode == inode && files[i].device == device) return &files[i];
    return NULL;
}

static uint32_t id_of(int fd) {
    struct stat s;
    if (!root_length || fd < 0 || fstat(fd, &s)) return 0;
    struct file *found = known(s.st_dev, s.st_ino);
    return found ? found->id : 0;
}

/* A file that was opened. A new one may have the inode of one that is gone. */
static void meet(int fd, const char *path, int created, int emptied) {
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) return;
    struct file *file = known(s.st_dev, s.st_ino);
    if (!file || created) {
        if (!file) {
            if (file_count == MAX_FILES) die("too many files");
            file = &files[file_count++];
            file->device = s.st_dev, file->inode = s.st_ino;
        }
        file->id = next_id++;
        put_text(created ? CREATE : OPEN, file->id, path, NULL);
    }
    if (emptied && !created) put(SIZE, file->id, 0, NULL, 0, NULL, 0);
}

static void compare(struct map *map) {
    struct stat s;
    if (fstat(map->fd, &s)) return;
    for (size_t at = 0; at < map->length; at += PAGE) {
        size_t left = map->length - at < PAGE ? map->length - at : PAGE;
        if (map->offset + at + left > (uint64_t)s.st_size) {
            if (map->offset + at >= (uint64_t)s.st_size) break; /* a look beyond the end would be SIGBUS */
            left = s.st_size - map->offset - at;
        }
        if (memcmp(map->start + at, map->copy + at, left)) {
            memcpy(map->copy + at, map->start + at, left);
            put(WRITE, map->file, map->offset + at, map->copy + at, left, NULL, 0);
        }
    }
}

static void compare_all(void) {
    for (int i = 0; i < map_count; i++) compare(&maps[i]);
}

/* Whether this call is to fail. Names it in the recording. */
static int fails(const char *call, const char *about) {
    calls++;
    if (fail_times > 0 && calls >= fail_at) {
        fail_times--;
        char text[PATH_MAX + 64];
        snprintf(text, sizeof text, "failed %s %s", call, about ? about : "");
        put_text(MARK, 0, text, NULL);
        errno = fail_errno;
        return 1;
    }
    return 0;
}

static const char *name_of(int fd, char *room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, room, PATH_MAX - 1);
    room[n < 0 ? 0 : n] = 0;
    return strncmp(room, root, root_length) ? room : room + root_length + 1;
}

void power_mark(const char *text) {
    pthread_mutex_lock(&lock);
    compare_all();
    put_text(MARK, 0, text, NULL);
    pthread_mutex_unlock(&lock);
}

void power_fail_at(long n, int error, long times) {
    pthread_mutex_lock(&lock);
    fail_at = calls + n, fail_errno = error, fail_times = times;
    pthread_mutex_unlock(&lock);
}

/* How many of the planned failures did not happen yet. */
long power_pending(void) { return fail_times; }

long power_calls(void) { return calls; }

/* --- calls with a file descriptor: F is the file's number, 0 for one that is not ours */

#define BEGIN(fd, name)                                                 \
    char room[PATH_MAX];                                                \
    pthread_mutex_lock(&lock);                                          \
    uint32_t F = id_of(fd);                                             \
    if (F && fails(name, name_of(fd, room))) {                          \
        pthread_mutex_unlock(&lock);                                    \
        return -1;                                                      \
    }                                                                   \
    if (F) compare_all();

#define END pthread_mutex_unlock(&lock)

ssize_t write(int fd, const void *data, size_t n) {
    if (!root_length || !id_of(fd)) return REAL(write)(fd, data, n);
    BEGIN(fd, "write")
    ssize_t done = REAL(write)(fd, data, n);
    if (done > 0) put(WRITE, F, lseek(fd, 0, SEEK_CUR) - done, data, done, NULL, 0);
    END;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!root_length || !id_of(fd)) return REAL(writev)(fd, parts, count);
    ssize_t done = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (n < 0) return done ? done : -1;
        done += n;
        if ((size_t)n < parts[i].iov_len) break;
    }
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    BEGIN(fd, "pwrite")
    ssize_t done = REAL(pwrite64)(fd, data, n, at);
    if (F && done > 0) put(WRITE, F, at, data, done, NULL, 0);
    END;
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

static void copied(int to, uint32_t id, ssize_t done) {
    off_t end = lseek(to, 0, SEEK_CUR);
    char *data = malloc(done);
    if (data && REAL(pread)(to, data, done, end - done) == done) put(WRITE, id, end - done, data, done, NULL, 0);
    else die("can't read what was copied");
    free(data);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t n) {
    BEGIN(to, "sendfile")
    if (F) errno = EINVAL; /* then Python copies by read and write, which can be recorded */
    ssize_t done = F ? -1 : REAL(sendfile64)(to, from, at, n);
    END;
    return done;
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags) {
    BEGIN(to, "copy_file_range")
    ssize_t done = REAL(copy_file_range)(from, from_at, to, to_at, n, flags);
    if (F && done > 0) copied(to, F, done);
    END;
    return done;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    if (!root_length || !id_of(fileno(file))) return REAL(fwrite)(data, size, n, file);
    char room[PATH_MAX];
    pthread_mutex_lock(&lock);
    uint32_t F = id_of(fileno(file));
    size_t done = 0;
    if (!fails("fwrite", name_of(fileno(file), room))) {
        compare_all();
        fflush(file);
        long at = ftell(file);
        done = REAL(fwrite)(data, size, n, file);
        if (fflush(file)) done = 0;
        if (done) put(WRITE, F, at, data, done * size, NULL, 0);
    }
    END;
    return done;
}

int ftruncate64(int fd, off64_t size) {
    BEGIN(fd, "ftruncate")
    int result = REAL(ftruncate64)(fd, size);
    if (F && !result) put(SIZE, F, size, NULL, 0, NULL, 0);
    END;
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    char room[PATH_MAX];
    pthread_mutex_lock(&lock);
    uint32_t F = id_of(fd);
    int result = F && fails("posix_fallocate", name_of(fd, room)) ? fail_errno : REAL(posix_fallocate64)(fd, at, length);
    if (F && !result) put(GROW, F, at + length, NULL, 0, NULL, 0);
    END;
    return result;
}

int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    BEGIN(fd, "fallocate")
    int result = REAL(fallocate64)(fd, mode, at, length);
    if (F && !result) {
        if (mode) die("fallocate with a mode is not recorded");
        put(GROW, F, at + length, NULL, 0, NULL, 0);
    }
    END;
    return result;
}

static int synced(int fd, const char *call, int (*sync)(int)) {
    struct stat s;
    if (!root_length || fstat(fd, &s)) return sync(fd);
    char room[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, room);
    int is_folder = S_ISDIR(s.st_mode) && !strncmp(room, root, root_length);
    uint32_t F = is_folder ? 0 : id_of(fd);
    int result;
    if ((F || is_folder) && fails(call, is_folder && !room[root_length] ? "" : name)) result = -1;
    else {
        compare_all();
        result = sync(fd);
        if (!result && F) put(SYNC, F, 0, NULL, 0, NULL, 0);
        if (!result && is_folder) put_text(DIRSYNC, 0, room[root_length] ? name : "", NULL);
    }
    END;
    return result;
}

int fsync(int fd) { return synced(fd, "fsync", REAL(fsync)); }

int fdatasync(int fd) { return synced(fd, "fdatasync", REAL(fdatasync)); }

/* --- mappings */

void *mmap64(void *wish, size_t length, int protection, int flags, int fd, off64_t offset) {
    if (fd < 0 || !root_length) return REAL(mmap64)(wish, length, protection, flags, fd, offset);
    char room[PATH_MAX];
    pthread_mutex_lock(&lock);
    uint32_t F = id_of(fd);
    void *start = MAP_FAILED;
    if (!F || !fails("mmap", name_of(fd, room))) {
        start = REAL(mmap64)(wish, length, protection, flags, fd, offset);
        if (F && start != MAP_FAILED && flags & MAP_SHARED && protection & PROT_WRITE) {
            if (map_count == MAX_MAPS) die("too many mappings");
            struct map *map = &maps[map_count++];
            *map = (struct map){start, calloc(1, length), length, offset, F, fcntl(fd, F_DUPFD_CLOEXEC, 3)};
            struct stat s;
            if (!map->copy || fstat(fd, &s)) die("can't keep a copy of a mapping");
            if (s.st_size > offset) {
                size_t there = (size_t)(s.st_size - offset) < length ? (size_t)(s.st_size - offset) : length;
                memcpy(map->copy, start, there);
            }
        }
    }
    END;
    return start;
}

void *mmap(void *wish, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(wish, length, protection, flags, fd, offset);
}

int munmap(void *start, size_t length) {
    if (!root_length) return REAL(munmap)(start, length);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < map_count; i++)
        if (maps[i].start == (char *)start) {
            compare(&maps[i]);
            free(maps[i].copy);
            close(maps[i].fd);
            maps[i] = maps[--map_count];
            break;
        }
    END;
    return REAL(munmap)(start, length);
}

int msync(void *start, size_t length, int flags) {
    if (!root_length) return REAL(msync)(start, length, flags);
    pthread_mutex_lock(&lock);
    int result = 0, i;
    for (i = 0; i < map_count; i++)
        if ((char *)start >= maps[i].start && (char *)start < maps[i].start + maps[i].length) break;
    if (i < map_count && fails("msync", "a mapping")) result = -1;
    else {
        compare_all();
        result = REAL(msync)(start, length, flags);
        /* only a whole mapping counts: a part is taken as not synced */
        if (!result && i < map_count && flags & MS_SYNC && start == maps[i].start && length >= maps[i].length)
            put(SYNC, maps[i].file, 0, NULL, 0, NULL, 0);
    }
    END;
    return result;
}

/* --- calls with a path */

static int opened(const char *path, int flags, mode_t mode) {
    char room[PATH_MAX];
    const char *name = ours(path, room);
    if (!name) return REAL(open64)(path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat s;
    int fd = -1, there = !REAL(stat)(path, &s);
    if (!fails("open", name)) {
        compare_all();
        fd = REAL(open64)(path, flags, mode);
        if (fd >= 0) meet(fd, name, !there && flags & O_CREAT, (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY);
    }
    END;
    return fd;
}

#define MODE                                \
    mode_t mode = 0;                        \
    if (flags & (O_CREAT | O_TMPFILE)) {    \
        va_list rest;                       \
        va_start(rest, flags);              \
        mode = va_arg(rest, mode_t);        \
        va_end(rest);                       \
    }

int open64(const char *path, int flags, ...) {
    MODE
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    MODE
    return opened(path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE
    char room[PATH_MAX], other[PATH_MAX];
    const char *whole = path_of(folder, path, room);
    return ours(whole, other) ? opened(whole, flags, mode) : REAL(openat64)(folder, path, flags, mode);
}

static int renamed(const char *from, const char *to) {
    char room[PATH_MAX], other[PATH_MAX];
    const char *a = ours(from, room), *b = ours(to, other);
    if (!a && !b) return REAL(rename)(from, to);
    if (!a || !b) die("a file was renamed across the recorded folder's edge");
    pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails("rename", a)) {
        compare_all();
        result = REAL(rename)(from, to);
        if (!result) put_text(RENAME, 0, a, b);
    }
    END;
    return result;
}

int rename(const char *from, const char *to) { return renamed(from, to); }

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    char room[PATH_MAX], other[PATH_MAX];
    return renamed(path_of(from_folder, from, room), path_of(to_folder, to, other));
}

static int removed(const char *path, int flags) {
    char room[PATH_MAX];
    const char *name = ours(path, room);
    int (*do_it)(const char *) = flags & AT_REMOVEDIR ? REAL(rmdir) : REAL(unlink);
    if (!name) return do_it(path);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails("unlink", name)) {
        compare_all();
        result = do_it(path);
        if (!result) put_text(UNLINK, 0, name, NULL);
    }
    END;
    return result;
}

int unlink(const char *path) { return removed(path, 0); }
int rmdir(const char *path) { return removed(path, AT_REMOVEDIR); }

int unlinkat(int folder, const char *path, int flags) {
    char room[PATH_MAX];
    return removed(path_of(folder, path, room), flags);
}

int mkdir(const char *path, mode_t mode) {
    char room[PATH_MAX];
    const char *name = ours(path, room);
    if (!name) return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails("mkdir", name)) {
        result = REAL(mkdir)(path, mode);
        if (!result) put_text(MKDIR, 0, name, NULL);
    }
    END;
    return result;
}

/* --- reading: recorded nowhere, but it can fail */

ssize_t pread64(int fd, void *data, size_t n, off64_t at) {
    if (!root_length || !fail_times || !id_of(fd)) return REAL(pread64)(fd, data, n, at);
    BEGIN(fd, "pread")
    ssize_t done = REAL(pread64)(fd, data, n, at);
    END;
    return done;
}

ssize_t pread(int fd, void *data, size_t n, off_t at) { return pread64(fd, data, n, at); }

ssize_t read(int fd, void *data, size_t n) {
    if (!root_length || !fail_times || !id_of(fd)) return REAL(read)(fd, data, n);
    BEGIN(fd, "read")
    ssize_t done = REAL(read)(fd, data, n);
    END;
    return done;
}
