#!/usr/bin/env python3
"""The judge of our hash files: the library of Berkeley DB 1.85 itself, as
Debian's libdb1-compat has it, called directly.

    db185.py seq FILE    print every record: key and value in hexadecimal
    db185.py get FILE    read keys, print their values; "-" where there is none
    db185.py make FILE   make a file as pwd_mkdb(8) does, of records that are read
    db185.py add FILE    add records to a file that is there
    db185.py getpw FILE  print the accounts of a database of OpenBSD or FreeBSD,
                         found by name, by uid and by number, as libc does it
"""
import ctypes
import os
import struct
import sys

lib = ctypes.CDLL("libdb1.so.2")


class DBT(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class HASHINFO(ctypes.Structure):
    _fields_ = [("bsize", ctypes.c_uint), ("ffactor", ctypes.c_uint), ("nelem", ctypes.c_uint),
                ("cachesize", ctypes.c_uint), ("hash", ctypes.c_void_p), ("lorder", ctypes.c_int)]


class DB(ctypes.Structure):
    pass


P = ctypes.POINTER(DBT)
CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(DB), P, P, ctypes.c_uint)
DB._fields_ = [("type", ctypes.c_int),
               ("close", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(DB))),
               ("delete", ctypes.c_void_p),
               ("get", CALL), ("put", CALL), ("seq", CALL)]
lib.dbopen.restype = ctypes.POINTER(DB)
DB_HASH, R_FIRST, R_NEXT, R_NOOVERWRITE = 1, 3, 7, 8


def dbopen(name, flags, info=None):
    db = lib.dbopen(name.encode(), flags, 0o600, DB_HASH, ctypes.byref(info) if info else None)
    if not db:
        sys.exit("dbopen: " + name)
    return db


def dbt(data):
    buf = ctypes.create_string_buffer(data, len(data))
    return DBT(ctypes.cast(buf, ctypes.c_void_p), len(data)), buf


def text(t):
    return ctypes.string_at(t.data, t.size) if t.size else b""


def get(db, key):
    k, keep = dbt(key)
    v = DBT()
    got = db.contents.get(db, ctypes.byref(k), ctypes.byref(v), 0)
    if got < 0:
        sys.exit("get failed")
    return text(v) if got == 0 else None


def seq(db):
    k, v, flag = DBT(), DBT(), R_FIRST
    while True:
        got = db.contents.seq(db, ctypes.byref(k), ctypes.byref(v), flag)
        if got < 0:
            sys.exit("seq failed")
        if got > 0:
            return
        yield text(k), text(v)
        flag = R_NEXT


def put(db, lines):
    for line in lines:
        key, value = line.rstrip("\n").split(" ")
        k, keep1 = dbt(bytes.fromhex(key))
        v, keep2 = dbt(bytes.fromhex(value))
        if db.contents.put(db, ctypes.byref(k), ctypes.byref(v), R_NOOVERWRITE) != 0:
            sys.exit("put failed: " + key)


class Reader:
    """Takes a record apart."""

    def __init__(self, data):
        self.data = data

    def string(self):
        s, self.data = self.data.split(b"\0", 1)
        return s.decode("latin-1")

    def number(self, form):
        n = struct.calcsize(form)
        v = struct.unpack(form, self.data[:n])[0]
        self.data = self.data[n:]
        return v


def account(data, bsd):
    u32, time = (">I", ">I") if bsd == "freebsd" else ("<I", "<q")
    r = Reader(data)
    name, passwd, uid, gid = r.string(), r.string(), r.number(u32), r.number(u32)
    change, klass, gecos, home, shell = r.number(time), r.string(), r.string(), r.string(), r.string()
    expire, flags = r.number(time), r.number(u32)
    assert r.data == b"", "%d bytes behind the record" % len(r.data)
    return ":".join(map(str, [name, passwd, uid, gid, klass, change, expire, gecos, home, shell])), name, uid, flags


def getpw(db):
    bsd, v = "openbsd", 3
    if (version := get(db, b"\xffVERSION")) is not None:
        assert version == b"\4", version
        bsd, v = "freebsd", 4
    form = ">I" if bsd == "freebsd" else "<I"
    def kind(c): return bytes([ord(c) & 0xcf | v << 4])
    n = 1
    while (data := get(db, kind("2") + struct.pack(form, n))) is not None:
        line, name, uid, flags = account(data, bsd)
        assert get(db, kind("1") + name.encode("latin-1")) is not None, name
        by_uid = get(db, kind("3") + struct.pack(form, uid))
        assert by_uid is not None and account(by_uid, bsd)[2] == uid, name
        print(line, flags)
        n += 1
    for key, _ in seq(db):
        if key == b"__YP!":
            print("NIS")


def main():
    verb, name = sys.argv[1:]
    if verb == "make":
        db = dbopen(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, HASHINFO(4096, 32, 256, 2048 * 1024, None, 0))
        put(db, sys.stdin)
    elif verb == "add":
        db = dbopen(name, os.O_RDWR)
        put(db, sys.stdin)
    else:
        db = dbopen(name, os.O_RDONLY)
        if verb == "seq":
            for k, v in seq(db):
                print(k.hex(), v.hex())
        elif verb == "get":
            for line in sys.stdin:
                v = get(db, bytes.fromhex(line.strip()))
                print("-" if v is None else v.hex())
        elif verb == "getpw":
            getpw(db)
        else:
            sys.exit(__doc__)
    if db.contents.close(db) != 0:
        sys.exit("close failed")


main()
