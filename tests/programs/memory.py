# mmap: shared and private maps of files, anonymous memory across a fork, memfd, protection, resizing, bad arguments.
import ctypes, errno, mmap, os
def err(f, *a, **k):
    try: return f(*a, **k)
    except (OSError, ValueError) as e: return errno.errorcode.get(getattr(e, "errno", None), str(e))
with open("m", "wb+") as f:
    f.truncate(100000); m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b"hello"; m.flush(); print(os.pread(f.fileno(), 5, 5000), m.find(b"hello"), len(m))
    os.pwrite(f.fileno(), b"J", 5000); print(m[5000:5005]); m.resize(200000); print(os.path.getsize("m"), len(m)); p = mmap.mmap(f.fileno(), 4096, flags=mmap.MAP_PRIVATE); p[:3] = b"own"; print(os.pread(f.fileno(), 3, 0), p[:3]); r = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ, offset=4096); print(r[904:909])
    try: r[0] = 1
    except TypeError as e: print(e)
print(m[5000:5005]); m.close(); s = mmap.mmap(-1, 8192)
if not (pid := os.fork()): s[:5] = b"child"; os._exit(0)
os.waitpid(pid, 0); print(s[:5])
fd = os.memfd_create("name"); os.write(fd, b"memory" * 1000); n = mmap.mmap(fd, 0); print(n[5996:], os.readlink(f"/proc/self/fd/{fd}")); print(err(mmap.mmap, os.open("m", os.O_RDONLY), 4096)); print(err(mmap.mmap, -1, 0), err(mmap.mmap, 999, 4096)); r, w = os.pipe(); print(err(mmap.mmap, r, 4096)); print(err(mmap.mmap, os.open("/", os.O_RDONLY), 4096))
libc = ctypes.CDLL(None, use_errno=True); print(libc.mprotect(ctypes.c_void_p(1), 4096, 1), errno.errorcode[ctypes.get_errno()]); s.madvise(mmap.MADV_DONTNEED) if hasattr(s, "madvise") else 0; print(s[:5]); big = bytearray(200 << 20); big[-1] = 7; print(sum(big[:: 1 << 20]), big[-1]); del big
z = mmap.mmap(os.open("/dev/zero", os.O_RDWR), 4096, flags=mmap.MAP_PRIVATE); print(z[:4]); from multiprocessing import shared_memory as sm; a = sm.SharedMemory(create=True, size=4096); b = sm.SharedMemory(a.name); a.buf[:2] = b"hi"; print(bytes(b.buf[:2])); b.close(); a.close(); a.unlink()
