// Runs a command that cannot make an AF_VSOCK socket: socket(2) fails with EAFNOSUPPORT, as on a kernel
// without vsock. So a ProxyCommand that was told a CID does not reach a machine that has it.
//
//     without-vsock COMMAND [ARGUMENT ...]
//
// The filter is inherited by all that the command starts (seccomp(2)). Libraries cannot get around it,
// but io_uring can, which no proxy here uses.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../tests/support/proxy-command.h"

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS_EQUAL(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

int main(int argc, char **argv) {
    struct sock_filter filter[] = {
        // The numbers below are those of this processor's system calls only.
        LOAD(arch),
        UNLESS_EQUAL(NATIVE, 5),
        LOAD(nr),
        UNLESS_EQUAL(SYS_socket, 2),
        // The low half: both processors are little-endian, and the family is an int.
        LOAD(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_VSOCK, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_ERRNO | EAFNOSUPPORT),
    };
    const struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (argc < 2) fail("a command is missing");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("PR_SET_NO_NEW_PRIVS");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) fail("PR_SET_SECCOMP");
    execv(argv[1], argv + 1);
    fail("%s", argv[1]);
}
