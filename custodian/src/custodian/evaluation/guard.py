"""Takes away from a process what a model has no use for: memory, time, files, network, system calls. It can't be given back.

What holds depends on the kernel, so each step says whether it worked. Resource limits hold everywhere. A network namespace of its own needs
the right to make one. The filter of system calls (seccomp) needs Linux on x86-64 or AArch64; it leaves reading and writing open
descriptors, memory, clocks and exit, and everything else fails with EPERM: no file is opened, no socket made, no process started. """

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path

from custodian.evaluation.limits import Limits

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER, _SIGKILL = 2, 9
_KILL, _ALLOW, _EPERM = 0x80000000, 0x7FFF0000, 0x00050001
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06

# Machine -> (its name for seccomp, numbers of the system calls that stay).
_CALLS = {
    "x86_64": (0xC000003E, (
        0, 1, 3, 5, 8,  # read write close fstat lseek
        9, 10, 11, 12, 25, 28,  # mmap mprotect munmap brk mremap madvise
        13, 14, 15, 131,  # rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
        19, 20, 24, 202, 324, 334,  # readv writev sched_yield futex membarrier rseq
        39, 63, 186, 204, 309,  # getpid uname gettid sched_getaffinity getcpu
        96, 98, 100, 201, 228, 229, 230,  # gettimeofday getrusage times time clock_gettime clock_getres clock_nanosleep
        60, 231, 318,  # exit exit_group getrandom
    )),
    "aarch64": (0xC00000B7, (
        63, 64, 57, 80, 62, 222, 226, 215, 214, 216, 233, 134, 135, 139, 132, 65, 66, 124, 98, 283, 293, 172, 160, 178, 123, 168, 169,
        165, 153, 113, 114, 115, 93, 94, 278,
    )),
}  # fmt: skip


def isolate() -> bool:
    """Die with the parent, and leave every network; to be called while the process has one thread. True where the network is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    alone = libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    # After a change of user namespace the kernel forgets the first request.
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(alone)


def confine(limits: Limits) -> bool:
    """Limit resources and filter system calls, once every library is loaded. True where the filter holds."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for what, most in (
        (resource.RLIMIT_AS, used + limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 3),  # stdin, stdout, stderr
    ):
        resource.setrlimit(what, (most, most))
    # At the first the process is told, at the second it is killed; which of them it was can be seen from outside.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    return _filter_calls()


def _filter_calls() -> bool:
    known = _CALLS.get(platform.machine())
    if known is None or platform.system() != "Linux":
        return False
    machine, calls = known
    # The program: another machine's calls kill, a listed number jumps to "allow", the rest falls through to EPERM.
    steps = [(_LOAD, 0, 0, 4), (_JUMP_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps += [(_JUMP_EQUAL, len(calls) - i, 0, number) for i, number in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)
