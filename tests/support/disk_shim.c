/* A disk that misbehaves as a test says: preloaded into a process, it stands between SQLite and the files of the queue.

   SHIM_FILES     names of files and folders, separated by colons; what a path ends with decides
   SHIM_CONTROL   a file that the test and we have mapped: counts for the test, and one rule for us
   SHIM_TRACE     where every change is written down, if anything is to be

   A rule says what happens to an operation: it fails, takes long, or is the last one of this process. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { READ, WRITE, SYNC, TRUNCATE, UNLINK, OPERATIONS };
enum { NOTHING, FAIL, DELAY, KILL };
enum { FILES = 4, DESCRIPTORS = 65536 };

struct control {
    int64_t sequence;                  /* changes and syncs so far, of all files */
    int64_t counts[FILES][OPERATIONS]; /* begun operations */
    int64_t fired;                     /* how often the rule applied */
    int64_t action;                    /* written last by the test; NOTHING while it changes the rest */
    int64_t file;                      /* which file, or -1 for any */
    int64_t operation;
    int64_t after;                     /* so many that match are left alone */
    int64_t times;                     /* then so many are treated, or all with -1 */
    int64_t argument;                  /* the errno, or milliseconds */
    int64_t part;                      /* so many bytes of a write are written before it fails or kills; with 0 none */
};

struct record {
    int64_t sequence, file, operation, offset, length; /* the bytes of a write follow */
};

static volatile struct control *control;
static int trace = -1;
static char *names[FILES];
static signed char watched[DESCRIPTORS]; /* the number of the file plus one */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL"), *files = getenv("SHIM_FILES"), *to = getenv("SHIM_TRACE");
    if (!path || !files) return;
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *page = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    syscall(SYS_close, descriptor);
    if (page == MAP_FAILED) return;
    char *rest = strdup(files), *save = NULL;
    for (int i = 0; i < FILES; i++, rest = NULL) {
        names[i] = strtok_r(rest, ":", &save);
        if (!names[i]) break;
    }
    if (to) trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    control = page;
}

static int file_of_path(const char *path) {
    size_t length = strlen(path);
    for (int i = 0; control && i < FILES && names[i]; i++) {
        size_t end = strlen(names[i]);
        if (length >= end && !strcmp(path + length - end, names[i])) return i;
    }
    return -1;
}

static int file_of(int descriptor) { return descriptor >= 0 && descriptor < DESCRIPTORS ? watched[descriptor] - 1 : -1; }

static void watch(int descriptor, const char *path) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS) watched[descriptor] = file_of_path(path) + 1;
}

static void write_out(const void *data, size_t length) {
    for (const char *at = data; length > 0;) {
        long done = syscall(SYS_write, trace, at, length);
        if (done <= 0) abort();
        at += done, length -= done;
    }
}

/* Count an operation; what the rule says is to become of it. */
static int64_t judge(int file, int operation, int64_t *argument, int64_t *part) {
    int64_t action = NOTHING;
    pthread_mutex_lock(&lock);
    control->counts[file][operation]++;
    if (control->action != NOTHING && control->operation == operation && (control->file == -1 || control->file == file)) {
        if (control->after > 0) {
            control->after--;
        } else if (control->times != 0) {
            if (control->times > 0) control->times--;
            action = control->action, *argument = control->argument, *part = control->part;
            control->fired++;
        }
    }
    pthread_mutex_unlock(&lock);
    return action;
}

static void note(int file, int operation, int64_t offset, int64_t length, const void *data) {
    pthread_mutex_lock(&lock);
    struct record record = {control->sequence, file, operation, offset, length};
    if (trace >= 0) {
        write_out(&record, sizeof record);
        if (data) write_out(data, length);
    }
    control->sequence++;
    pthread_mutex_unlock(&lock);
}

static void stand_still(int64_t milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

static void die(void) { kill(getpid(), SIGKILL), pause(); }

/* Do to an operation what the rule says; FAIL where it is to be refused with errno, KILL where it is to be torn first. */
static int64_t treat(int file, int operation, int64_t *part) {
    int64_t argument = 0, action = judge(file, operation, &argument, part);
    if (action == DELAY) stand_still(argument);
    if (action == KILL && *part == 0) die();
    errno = argument;
    return action == DELAY ? NOTHING : action;
}

static int refused(int file, int operation) {
    int64_t part = 0;
    return file >= 0 && treat(file, operation, &part) != NOTHING;
}

static ssize_t write_at(int descriptor, const void *data, size_t length, off64_t offset) {
    ssize_t (*write_real)(int, const void *, size_t, off64_t) = REAL(pwrite64);
    int file = file_of(descriptor);
    if (file < 0) return write_real(descriptor, data, length, offset);
    int64_t part = 0, action = treat(file, WRITE, &part);
    if (action != NOTHING) {
        int why = errno;
        if (part > 0) write_real(descriptor, data, (size_t)part < length ? (size_t)part : length, offset);
        if (action == KILL) die();
        errno = why;
        return -1;
    }
    ssize_t done = write_real(descriptor, data, length, offset);
    if (done > 0) note(file, WRITE, offset, done, data);
    return done;
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    return write_at(descriptor, data, length, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
    return write_at(descriptor, data, length, offset);
}

ssize_t pread64(int descriptor, void *data, size_t length, off64_t offset) {
    int file = file_of(descriptor);
    if (refused(file, READ)) return -1;
    return REAL(pread64)(descriptor, data, length, offset);
}

static int sync_of(int descriptor, int (*sync_real)(int)) {
    int file = file_of(descriptor);
    if (file < 0) return sync_real(descriptor);
    if (refused(file, SYNC)) return -1;
    int failed = sync_real(descriptor);
    if (!failed) note(file, SYNC, 0, 0, NULL);
    return failed;
}

int fsync(int descriptor) { return sync_of(descriptor, REAL(fsync)); }
int fdatasync(int descriptor) { return sync_of(descriptor, REAL(fdatasync)); }

int ftruncate64(int descriptor, off64_t length) {
    int file = file_of(descriptor);
    if (refused(file, TRUNCATE)) return -1;
    int failed = REAL(ftruncate64)(descriptor, length);
    if (!failed && file >= 0) note(file, TRUNCATE, length, 0, NULL);
    return failed;
}

int unlink(const char *path) {
    int file = file_of_path(path);
    if (refused(file, UNLINK)) return -1;
    int failed = REAL(unlink)(path);
    if (!failed && file >= 0) note(file, UNLINK, 0, 0, NULL);
    return failed;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(arguments, int) : 0;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int descriptor = REAL(open64)(path, flags, mode_of(flags, arguments));
    va_end(arguments);
    watch(descriptor, path);
    return descriptor;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int descriptor = REAL(open)(path, flags, mode_of(flags, arguments));
    va_end(arguments);
    watch(descriptor, path);
    return descriptor;
}

int close(int descriptor) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS) watched[descriptor] = 0;
    return REAL(close)(descriptor);
}
