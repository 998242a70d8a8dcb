"""A ptrace(2) tracer that follows a command and all of its processes, and ends or fails them at chosen system calls.

strace cannot do what the sweeps of tests/faults need: its counters cannot single out one process of several, so a
monitor is out of reach behind the command that forks it, and it stays for as long as any process lives. This one
knows each process by its place in the tree (`0` is the command, `0.2` its third child, numbered from 0), counts
the calls of one class in one process, and lets go of all processes when the command has ended and nothing stirs.

Runs as root on x86_64: a tracer without rights would break newuidmap.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import struct
import time

SEIZE, CONT, SYSCALL, LISTEN, POKEUSER = 0x4206, 7, 24, 0x4208, 6
GETEVENTMSG, SYSCALL_INFO = 0x4201, 0x420E
OPTIONS = 1 | 2 | 4 | 8 | 0x10  # marked system call stops; fork, vfork, clone, exec
EVENTS_OF_BIRTH, EVENT_EXEC, EVENT_STOP = (1, 2, 3), 4, 128
ENTRY, EXIT = 1, 2
ALL_KINDS = 0x40000000  # __WALL
RAX, ORIG_RAX = 10 * 8, 15 * 8
QUIET = 0.08  # seconds without any stop after which a detached process counts as settled

NUMBERS = {
    "read": 0, "write": 1, "open": 2, "poll": 7, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "dup": 32,
    "dup2": 33, "sendfile": 40, "socket": 41, "connect": 42, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
    "recvmsg": 47, "bind": 49, "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "wait4": 61,
    "kill": 62, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82,
    "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91,
    "chown": 92, "fchown": 93, "lchown": 94, "setsid": 112, "mknod": 133, "pivot_root": 155, "sync": 162,
    "mount": 165, "umount2": 166, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "getdents64": 217,
    "exit_group": 231, "waitid": 247, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260,
    "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268, "ppoll": 271, "unshare": 272,
    "fallocate": 285, "accept4": 288, "signalfd4": 289, "epoll_create1": 291, "dup3": 292, "pipe2": 293,
    "syncfs": 306, "setns": 308, "renameat2": 316, "memfd_create": 319, "execveat": 322, "copy_file_range": 326,
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "pidfd_open": 434, "clone3": 435, "openat2": 437, "mount_setattr": 442, "fchmodat2": 452,
}
NAMES = {number: name for name, number in NUMBERS.items()}

WRITES = set("write pwrite64 writev ftruncate truncate fallocate copy_file_range sendfile".split())
MAKES = set("creat mkdir mkdirat mknod mknodat link linkat symlink symlinkat rename renameat renameat2 "
            "setxattr lsetxattr fsetxattr".split())
OPENS = set("open openat openat2 creat".split())
SYNCS = set("fsync fdatasync syncfs".split())
# Between two of these nothing changes that another process could see: a death there equals one at the next.
CHANGES = WRITES | MAKES | SYNCS | set(
    "rmdir unlink unlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat flock mount umount2 "
    "move_mount fsmount mount_setattr pivot_root connect bind sendmsg sendto kill pidfd_send_signal clone fork vfork "
    "clone3 execve execveat unshare setns setsid exit_group".split())
CLASSES = {
    "kill": CHANGES,
    "ENOSPC": WRITES | MAKES,
    "EIO": WRITES | SYNCS | {"read", "pread64", "readv", "getdents64"},
    "EMFILE": OPENS | set("socket socketpair pipe2 dup dup3 accept4 pidfd_open signalfd4 epoll_create1 memfd_create "
                          "open_tree fsopen fsmount".split()),
    "EINTR": set("read write wait4 waitid poll ppoll flock connect recvmsg sendmsg openat".split()),
}
ON_FILES = WRITES | SYNCS | {"read", "pread64", "readv", "getdents64"}
CREATES = 0o100

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, address=0, data=0):
    """Returns False if the process is gone."""
    if libc.ptrace(request, pid, address, data) == -1 and ctypes.get_errno():
        number = ctypes.get_errno()
        ctypes.set_errno(0)
        if number != errno.ESRCH:
            raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
        return False
    return True


class Process:
    """A traced process: its place in the tree, and what was counted."""

    def __init__(self, pid, place):
        self.pid, self.place = pid, place
        self.children, self.counts, self.own, self.failing = 0, {}, place != "0", None


class Fault:
    """What happens: `what` (kill, kill-all, or an errno, with + for it and all later ones) at a call of `place`."""

    def __init__(self, place, what, number):
        self.place, self.what, self.number = place, what, number
        self.kind = "kill" if what.startswith("kill") else what.rstrip("+")
        self.lasting = what.endswith("+")


class Tracer:
    """Runs one command to its end, with at most one fault."""

    def __init__(self, base, fault=None, log=None):
        if platform.machine() != "x86_64":
            raise SystemExit("faults: the tracer knows the system calls of x86_64 only")
        self.base, self.fault, self.log = base, fault, log
        self.processes, self.unborn, self.points, self.done = {}, {}, [], False
        self.info = ctypes.create_string_buffer(128)

    def run(self, command, limit):
        """`command` is executed by a child made here; returns (exit code or None, points, whether the fault came)."""
        gate_read, gate_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gate_write)
            os.read(gate_read, 1)
            command()
            os._exit(127)
        os.close(gate_read)
        ptrace(SEIZE, child, 0, OPTIONS)
        self.processes[child] = Process(child, "0")
        os.close(gate_write)
        signal.signal(signal.SIGALRM, self.too_long)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            code = self.follow(child)
        except TimeoutError:
            code = None
        return code, self.points, self.done

    def too_long(self, *_):
        for each in self.processes:
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                pass
        raise TimeoutError

    def follow(self, main):
        """Handles stops until the command has ended and the rest is quiet; returns its exit code."""
        code, quiet = None, None
        while self.processes:
            try:
                pid, status = os.waitpid(-1, ALL_KINDS | (os.WNOHANG if code is not None else 0))
            except ChildProcessError:
                break
            if pid == 0:
                now = time.monotonic()
                if quiet and now - quiet > QUIET:
                    break
                quiet = quiet or now
                time.sleep(0.002)
                continue
            quiet = None
            if os.WIFSTOPPED(status):
                self.stopped(pid, status)
            else:
                self.processes.pop(pid, None)
                if pid == main:
                    code = os.waitstatus_to_exitcode(status)
        return code

    def stopped(self, pid, status):
        number, event = os.WSTOPSIG(status), status >> 16
        process = self.processes.get(pid)
        if process is None:
            # Its first stop came before its parent's word of it.
            self.unborn[pid] = True
            return
        if event in EVENTS_OF_BIRTH:
            message = ctypes.c_ulong()
            ptrace(GETEVENTMSG, pid, 0, ctypes.addressof(message))
            child = Process(message.value, f"{process.place}.{process.children}")
            child.own = process.own
            process.children += 1
            self.processes[child.pid] = child
            if self.unborn.pop(child.pid, None):
                self.resume(child)
        elif event == EVENT_EXEC:
            try:
                process.own = os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "rbox"
            except OSError:
                process.own = False
        elif event == EVENT_STOP:
            if number != signal.SIGTRAP:
                ptrace(LISTEN, pid)
                return
        elif number == signal.SIGTRAP | 0x80:
            self.called(process)
        elif number != signal.SIGTRAP:
            self.resume(process, number)
            return
        self.resume(process)

    def resume(self, process, number=0):
        place = self.fault.place if self.fault else None
        spent = self.done and not self.fault.lasting and process.failing is None
        concerned = self.fault is None or place == process.place or (self.done and self.fault.lasting)
        ptrace(CONT if spent or not concerned else SYSCALL, process.pid, 0, number)

    def called(self, process):
        size = libc.ptrace(SYSCALL_INFO, process.pid, ctypes.sizeof(self.info), ctypes.addressof(self.info))
        if size <= 0 or not process.own:
            return
        operation = self.info.raw[0]
        if operation == EXIT:
            if process.failing is not None:
                ptrace(POKEUSER, process.pid, RAX, -process.failing & (1 << 64) - 1)
                process.failing = None
            elif self.log:
                value, = struct.unpack_from("=q", self.info.raw, 24)
                self.log(process, None, value)
            return
        if operation != ENTRY:
            return
        number, *arguments = struct.unpack_from("=7Q", self.info.raw, 24)
        name = NAMES.get(number)
        if self.log:
            self.log(process, name, arguments)
        if name is None:
            return
        for kind in CLASSES:
            if not self.counts(kind, name, process.pid, arguments):
                continue
            process.counts[kind] = process.counts.get(kind, 0) + 1
            if self.fault is None:
                on = os.path.basename(path_of(process.pid, arguments[0]) or "") if name in ON_FILES else ""
                self.points.append((process.place, kind, process.counts[kind], f"{name} {on}".strip()))
            elif kind == self.fault.kind:
                self.strike(process)

    def counts(self, kind, name, pid, arguments):
        """Whether a call belongs to a class: some do only with certain arguments."""
        if name in OPENS and name != "creat" and kind in ("kill", "ENOSPC"):
            flags = arguments[1] if name == "open" else arguments[2]
            if name == "openat2":
                flags, = struct.unpack("=Q", memory(pid, arguments[2], 8) or bytes(8))
            return bool(flags & CREATES)
        if name not in CLASSES[kind]:
            return False
        if kind in ("ENOSPC", "EIO") and name in ON_FILES:
            # Disks are full or broken; pipes, sockets and /proc are not.
            return (path_of(pid, arguments[0]) or "").startswith(self.base)
        if kind == "EINTR" and name in ("read", "write"):
            # An event descriptor never waits, so no signal interrupts it.
            return "[eventfd]" not in (path_of(pid, arguments[0]) or "")
        return True

    def strike(self, process):
        fault = self.fault
        here = process.place == fault.place and process.counts[fault.kind] == fault.number
        if not here and not (self.done and fault.lasting):
            return
        if self.done and not fault.lasting:
            return
        self.done = True
        if fault.kind == "kill":
            for pid in list(self.processes) if fault.what == "kill-all" else [process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return
        process.failing = getattr(errno, fault.kind)
        ptrace(POKEUSER, process.pid, ORIG_RAX, (1 << 64) - 1)


def path_of(pid, descriptor):
    """What a descriptor of a process refers to."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor & 0xffffffff}")
    except OSError:
        return None


def memory(pid, address, size):
    """Bytes of a process, or None."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(address)
            return file.read(size)
    except (OSError, OverflowError):
        return None


def text(pid, address):
    """A string of a process, page by page: the one after its end may not be there."""
    data = b""
    while b"\0" not in data and len(data) < 8192:
        page = memory(pid, address + len(data), 4096 - (address + len(data)) % 4096)
        if not page:
            break
        data += page
    return data.split(b"\0")[0].decode(errors="replace")


def resolved(pid, directory, address):
    """The path that a call names by a directory's descriptor and a string."""
    name = text(pid, address)
    if name.startswith("/proc/self/fd/"):
        descriptor, _, rest = name.removeprefix("/proc/self/fd/").partition("/")
        return os.path.join(path_of(pid, int(descriptor)) or "", rest)
    if name.startswith("/"):
        return name
    here = directory is None or directory & 0xffffffff == 0xffffff9c  # AT_FDCWD
    base = os.readlink(f"/proc/{pid}/cwd") if here else path_of(pid, directory)
    return os.path.normpath(os.path.join(base or "", name))


def note_changes(notes, process, name, value):
    """A log for `trace`: what is written, made, renamed, removed and synced, with paths."""
    pid, place = process.pid, process.place
    if name is None and isinstance(value, int):
        notes.append((place, "done", value))
        return
    if name in WRITES:
        notes.append((place, "write", path_of(pid, value[0])))
    elif name == "syncfs":
        notes.append((place, "syncfs", ""))
    elif name in SYNCS:
        notes.append((place, "sync", path_of(pid, value[0])))
    elif name in ("rename", "link"):
        notes.append((place, name, resolved(pid, None, value[0]), resolved(pid, None, value[1])))
    elif name in ("renameat", "renameat2", "linkat"):
        kind = name.removesuffix("2").removesuffix("at")
        notes.append((place, kind, resolved(pid, value[0], value[1]), resolved(pid, value[2], value[3])))
    elif name in ("unlink", "unlinkat"):
        directory, path = (None, value[0]) if name == "unlink" else value[:2]
        notes.append((place, "unlink", resolved(pid, directory, path)))
    elif name in ("mkdir", "creat"):
        notes.append((place, "make", resolved(pid, None, value[0])))
    elif name in ("mkdirat", "mknodat"):
        notes.append((place, "make", resolved(pid, value[0], value[1])))
    elif name == "symlinkat":
        notes.append((place, "make", resolved(pid, value[1], value[2])))
    elif name in ("openat", "openat2", "open"):
        directory, path, flags = (None, value[0], value[1]) if name == "open" else value[:3]
        if name == "openat2":
            flags, = struct.unpack("=Q", memory(pid, flags, 8) or bytes(8))
        if flags & CREATES:
            notes.append((place, "make", resolved(pid, directory, path)))


def trace(command, base, fault=None, limit=30.0, log=None):
    """Runs `command` in a traced child of a new process, whose end lets everything go. See `Tracer.run`."""
    read, write = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(read)
        result = {"code": None, "points": [], "came": False, "log": []}
        try:
            note = (lambda *entry: log(result["log"], *entry)) if log else None
            code, points, came = Tracer(base, fault, note).run(command, limit)
            result.update(code=code, points=points, came=came)
        except Exception as error:  # pylint: disable=broad-except
            result["error"] = repr(error)
        with os.fdopen(write, "w") as file:
            json.dump(result, file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        result = json.load(file)
    os.waitpid(helper, 0)
    if "error" in result:
        raise RuntimeError(result["error"])
    return result
