"""The pipe to the scheduler: u32 length, a msgpack map, then raw sections whose lengths the map names."""

import os
import select
import struct

LENGTH = struct.Struct("<I")
SECTION_BYTES_MAX = 0xFFFFFFFF


def own_standard_streams():
    """Take the pipe away from file descriptors 0 and 1, so that user code that prints cannot corrupt it."""
    incoming = os.dup(0)
    outgoing = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return incoming, outgoing


def _raw_text(text):
    data = text.encode("utf-8", "replace")[:60000]
    return b"\xda" + struct.pack(">H", len(data)) + data


def write_text_map(fd, pairs):
    """A message of texts alone, packed by hand: it must also work where msgpack is not installed."""
    body = bytes([0x80 | len(pairs)]) + b"".join(_raw_text(k) + _raw_text(v) for k, v in pairs)
    _write_all(fd, LENGTH.pack(len(body)) + body)


def _write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Pipe:
    def __init__(self, incoming, outgoing, packb, unpackb):
        self._reader = os.fdopen(incoming, "rb", buffering=1 << 16)
        self._outgoing = outgoing
        self._packb = packb
        self._unpackb = unpackb

    def _read_exactly(self, size):
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._reader.readinto(view)
            if not count:
                raise EOFError("the scheduler closed the pipe")
            view = view[count:]
        return data

    def has_input(self, seconds):
        """Whether a message, or a part of one, or the end of the pipe waits to be read, or does within that time."""
        # Messages are answered one at a time, so the reader has nothing in its buffer but what came with the last one.
        return bool(select.select([self._reader], [], [], seconds)[0])

    def read(self):
        """The next message and its sections; None at the end of the pipe."""
        length = self._reader.read(4)
        if len(length) < 4:
            return None
        head = self._unpackb(self._read_exactly(LENGTH.unpack(length)[0]), use_list=False)
        return head, [memoryview(self._read_exactly(size)) for size in head.get("sections", ())]

    def write(self, head, sections=()):
        """`sections` is a list of lists of byte strings: one list is one section, joined here."""
        joined = [b"".join(parts) for parts in sections]
        head["sections"] = [len(section) for section in joined]
        if sum(head["sections"]) > SECTION_BYTES_MAX:
            raise OverflowError("a message to the scheduler is larger than 4 GiB")
        packed = self._packb(head)
        _write_all(self._outgoing, LENGTH.pack(len(packed)) + packed)
        for section in joined:
            _write_all(self._outgoing, section)
