# holder: None
# where: host
import ctypes

from parts import *

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

model, opt = unet()
for x, y in batches(160):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    libc.memset(libc.malloc(64_000), 1, 64_000)  # a decoder that forgets its buffer
