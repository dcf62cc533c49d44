"""Every system call of Linux, sorted by what a container may do with it.

The names are the kernel's (include/uapi/asm-generic/unistd.h and the tables of the older
architectures); a test holds the table against the headers of the machine it runs on. What is in no
list here fails as unknown, so a new call is refused until someone has thought about it.
"""

from __future__ import annotations

from collections.abc import Mapping

FILES = """
_llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat
fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr
fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr
llseek lremovexattr lseek lsetxattr lstat lstat64 memfd_create mkdir mkdirat mknod mknodat
name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64
pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename
renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs
statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink
unlinkat utime utimensat utimensat_time64 utimes write writev
"""

MOUNTS = """
fsconfig fsmount fsopen fspick listmount mount mount_setattr move_mount open_tree pivot_root
statmount umount umount2 unshare
"""
"""The kernel itself asks for CAP_SYS_ADMIN in the mount namespace's owner for these."""

MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_secret mincore mlock
mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
pkey_free pkey_mprotect process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node
shmat shmctl shmdt shmget
"""

PROCESSES = """
capget capset clone clone3 execve execveat exit exit_group fork get_robust_list get_thread_area
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid
getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid
getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self pause pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64
process_vm_readv process_vm_writev ptrace restart_syscall rseq sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid
setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid
setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid
setuid32 tgkill tkill ugetrlimit uname vfork wait4 waitid waitpid
"""

SIGNALS = """
alarm getitimer rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer sigaltstack
signal signalfd signalfd4 sigprocmask sigreturn
"""

TIME = """
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 gettimeofday nanosleep time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
"""
"""Reading the clock, and setting it where the kernel finds CAP_SYS_TIME."""

WAITING = """
_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
io_cancel io_destroy io_getevents io_setup io_submit poll ppoll ppoll_time64 pselect6
pselect6_time64 select
"""

MESSAGES = """
accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
msgget msgrcv msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop
semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

SYSTEM = """
getcpu getrandom keyctl lsm_get_self_attr lsm_list_modules lsm_set_self_attr sysinfo syslog
"""

REBOOT = "reboot"
"""The kernel turns it into a signal to the namespace's own process 1."""

ALLOWED = tuple(
    " ".join(
        (FILES, MOUNTS, MEMORY, PROCESSES, SIGNALS, TIME, WAITING, MESSAGES, SYSTEM, REBOOT)
    ).split()
)

DANGEROUS = """
add_key bdflush io_pgetevents io_pgetevents_time64 io_uring_enter io_uring_register io_uring_setup
kexec_file_load kexec_load migrate_pages move_pages multiplexer nfsservctl nice oldfstat oldlstat
oldolduname oldstat olduname pciconfig_iobase pciconfig_read pciconfig_write quotactl_fd readdir
request_key rtas s390_guarded_storage s390_sthyi sgetmask sigaction sigpending sigsuspend spu_create
spu_run ssetmask subpage_prot swapcontext swapoff swapon switch_endian sys_debug_setcontext sysfs
uselib userfaultfd ustat vm86 vm86old vmsplice
"""
REFUSED = tuple(DANGEROUS.split())
"""Refused with EPERM, whatever the capabilities. io_uring goes round every rule of this file."""

ALLOWED_WITH: Mapping[str, tuple[str, ...]] = {
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_PERFMON": ("perf_event_open",),
    "CAP_SYS_ADMIN": (
        "bpf",
        "fanotify_init",
        "lookup_dcookie",
        "quotactl",
        "setdomainname",
        "sethostname",
        "setns",
    ),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module", "query_module"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": ("kcmp", "process_madvise"),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
}

ARM = (
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cacheflush",
    "set_tls",
    "sync_file_range2",
)
ALLOWED_ON: Mapping[str, tuple[str, ...]] = {
    "amd64": ("arch_prctl", "modify_ldt", "uretprobe"),
    "386": ("modify_ldt",),
    "arm": ARM,
    "arm64": ARM,
    "ppc64le": ("sync_file_range2",),
    "riscv64": ("riscv_flush_icache", "riscv_hwprobe"),
    "s390x": ("s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"),
}

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "386": ("SCMP_ARCH_X86",),
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "arm": ("SCMP_ARCH_ARM",),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "mips64le": ("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}
"""Go's name of an architecture to libseccomp's, the native one first."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux and Linux32, each with and without UNAME26, and the question what is set."""
