"""A disk with a volatile cache, served to qemu over a Unix socket (NBD, newstyle).

What the machine has written since its last flush is in the file, as for every reader, but the old content of
each sector is kept. `cut` is the power cut: of the sectors written since that flush each is lost or not by
chance, in no order, as real disks do. Killing qemu alone would keep them all: the host has them by then.

`fail` makes every later write and flush an I/O error, as of a disk that dies.
"""

import os
import socket
import struct
import threading

SECTOR = 4096
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
EXPORT_NAME, ABORT, INFO, GO = 1, 2, 6, 7
HAS_FLAGS_AND_FLUSH = 1 | 4
EIO, EINVAL = 5, 22


class Disk:
    def __init__(self, path, listen):
        self.path, self.listen = path, listen
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.unflushed = {}  # number of a sector -> what it was at the last flush
        self.failing = False
        self.flushes = 0
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(listen)
        self.server.listen(1)
        self.thread = None

    def serve(self):
        """Answers the one machine that connects next, until it is gone."""
        self.failing = False
        self.thread = threading.Thread(target=self._connection, daemon=True)
        self.thread.start()

    def fail(self):
        self.failing = True

    def cut(self, chance, random):
        """Loses each sector not flushed with this chance; the machine is dead. Returns (lost, unflushed)."""
        self.thread.join(30)
        assert not self.thread.is_alive(), f"{self.path} is still connected"
        lost = [number for number in sorted(self.unflushed) if random.random() < chance]
        for number in lost:
            os.pwrite(self.file, self.unflushed[number], number * SECTOR)
        total = len(self.unflushed)
        self.unflushed = {}
        return len(lost), total

    def _connection(self):
        connection, _ = self.server.accept()
        with connection:
            try:
                if self._handshake(connection):
                    while self._request(connection):
                        pass
            except (ConnectionError, EOFError):
                pass

    def _handshake(self, connection):
        connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1))
        take(connection, 4)
        while True:
            _, option, length = struct.unpack(">QII", take(connection, 16))
            take(connection, length)
            reply = struct.pack(">QI", 0x3e889045565a9, option)
            if option == EXPORT_NAME:
                connection.sendall(struct.pack(">QH", self.size, HAS_FLAGS_AND_FLUSH) + bytes(124))
                return True
            if option in (INFO, GO):
                export = struct.pack(">HQH", 0, self.size, HAS_FLAGS_AND_FLUSH)
                connection.sendall(reply + struct.pack(">II", 3, len(export)) + export)
            known = option in (INFO, GO, ABORT)
            connection.sendall(reply + struct.pack(">II", 1 if known else 0x80000001, 0))
            if option == GO:
                return True
            if option == ABORT:
                return False

    def _request(self, connection):
        magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", take(connection, 28))
        assert magic == 0x25609513
        data = take(connection, length) if kind == WRITE else b""
        if kind == DISCONNECT:
            return False
        error, answer = 0, b""
        if kind == READ:
            answer = os.pread(self.file, length, offset)
        elif self.failing:
            error = EIO
        elif kind == WRITE:
            for number in range(offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR):
                if number not in self.unflushed:
                    self.unflushed[number] = os.pread(self.file, SECTOR, number * SECTOR)
            os.pwrite(self.file, data, offset)
        elif kind == FLUSH:
            self.unflushed = {}
            self.flushes += 1
        else:
            error = EINVAL
        connection.sendall(struct.pack(">IIQ", 0x67446698, error, handle) + answer)
        return True


def take(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(min(length - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
