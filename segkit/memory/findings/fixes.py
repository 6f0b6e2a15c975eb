"""What to do about a leak: one sentence for each cause."""

FIXES = {
    "kept graph": (
        "Store a number in `{name}` (`loss.item()`) or a detached tensor (`.detach()`), or compute it under "
        "`torch.no_grad()`: a tensor with a graph keeps all activations that it was computed from."
    ),
    "graph kept after backward": (
        "Store a number in `{name}` (`loss.item()`), not the tensor: it keeps the nodes of its autograd graph in host "
        "memory, although `backward()` has freed the saved tensors."
    ),
    "graph over steps": "Detach between steps: pass `{name}.detach()` to the next step instead of `{name}`.",
    "graph of a sum": (
        "Add numbers, not tensors: `{name} += loss.item()` (or `loss.detach()`). The graph of the sum contains the "
        "graph of every step."
    ),
    "kept tensors": (
        "Store numbers (`.item()`), or a copy on the CPU that is deleted after use, and empty `{name}` once an epoch."
    ),
    "kept outputs": (
        "Reduce the outputs of each batch to what you need (RLE, sums, `.cpu()`), and empty `{name}` after use."
    ),
    "growing tensor": (
        "Collect the parts in a list, concatenate them once, and empty the list: `torch.cat` at every step keeps all "
        "that came before."
    ),
    "growing array": (
        "Collect the parts in a list that is emptied once an epoch, or write them to disk: to concatenate at every "
        "step copies all of `{name}` each time, and keeps all that came before."
    ),
    "growing buffer": ("Write to a file, or empty the buffer after use (`{name}.seek(0)`, `{name}.truncate()`)."),
    "growing text": "Write the text to a file (`logging`, `print(..., file=...)`) instead of keeping it in `{name}`.",
    "dict without bound": (
        "Delete old entries of `{name}`, or use keys that come again, such as the size. A cache can be a "
        "`functools.lru_cache(maxsize=...)`."
    ),
    "registered again": (
        "Register the buffer, parameter or module once, before the loop, and copy new values into it: a module keeps "
        "everything that was ever registered on it."
    ),
    "optimizer state": (
        "Give the optimiser all its parameters once, before the loop: it keeps state for every parameter that it ever "
        "got (`add_param_group`)."
    ),
    "lru_cache": (
        "Give `functools.lru_cache` a small maxsize, call `cache_clear()` once an epoch, and do not cache by tensors "
        "or by `self`."
    ),
    "hook": (
        "Remove the hook after use (`handle.remove()`), let it store detached values (`.detach()`), and delete them "
        "at every step."
    ),
    "hooks registered again": (
        "Register the hook once, before the loop, or call `handle.remove()` at the end of every step."
    ),
    "closure": "Let the inner function return its results, or empty `{name}`, which it keeps, at every step.",
    "deque without bound": "Give the deque a bound (`deque(maxlen=...)`), or remove entries after use.",
    "iterator that keeps": (
        "Start the loader again instead (`while True: yield from loader`): `itertools.cycle` and `itertools.tee` keep "
        "all that they have given."
    ),
    "atexit callback": (
        "Register one function before the loop, and let it read the newest values from a variable: `atexit` keeps what "
        "it was given until the program ends."
    ),
    "task or future": (
        "Take the result of each task or future (`await`, `.result()`) and remove it from `{name}`: it keeps its "
        "result, and until it ends its local variables."
    ),
    "exit stack": (
        "Leave the `with` block of the `ExitStack` at every step or epoch, or call its `close()`: until then it keeps "
        "all that it was given."
    ),
    "finalizer": (
        "Give `weakref.finalize` no tensors, or call `detach()` on what it returns: it keeps its arguments as long as "
        "the object lives that it watches."
    ),
    "default argument": (
        "Write `{name}=None`, and make a new one inside of the function: a default value is made once, when the "
        "function is defined, and lives as long as the function."
    ),
    "linked records": (
        "Let the newest record forget the older ones (set that attribute to None), or keep the last few in a "
        "`deque(maxlen=...)`: each refers to the one before, so that the newest keeps all."
    ),
    "generator": "Run the generator to its end, or close it (`.close()`): until then it keeps its local variables.",
    "traceback": (
        "Do not keep the exception: store `str(error)`, or call `traceback.clear_frames(error.__traceback__)`. The "
        "frames of a traceback keep all their local variables."
    ),
    "exception": (
        "Do not keep the exception or warning in `{name}`: store `str(error)`. It keeps its arguments and attributes."
    ),
    "copies of a model": (
        "Keep only the best copy in `{name}`, or write each to disk (`torch.save`): every copy has all weights of the "
        "model."
    ),
    "part of a larger tensor": (
        "Copy the part before you store it (`.clone()`), and empty `{name}` once an epoch: a view keeps all of the "
        "tensor that it is a part of."
    ),
    "thread": "Let the thread delete what it has finished (`del`), or use a bounded `queue.Queue(maxsize=...)`.",
    "queue": (
        "Check that the consumer of the queue is alive and fast enough. With a bound (`Queue(maxsize=...)`), the "
        "producer waits."
    ),
    "class attribute": (
        "Empty `{name}` at every step or epoch: it is an attribute of a class, which lives as long as the program."
    ),
    "reference cycle": (
        "Break the cycle (a `weakref`, or `del` of the attribute that points back): only the garbage collector frees "
        "it, late, or never if it is switched off."
    ),
    "C++ cycle": (
        "Use `torch.autograd.grad` instead of `backward(create_graph=True)`, or set the gradients to None after use: "
        "the garbage collector cannot see the cycle of tensor and graph."
    ),
    "ctx cycle": "Keep tensors of a custom Function with `ctx.save_for_backward`, not as attributes of `ctx`.",
    "hook cycle": (
        "Remove the hook after use (`handle.remove()`), or do not use in it the tensor that it is registered on: "
        "tensor, graph and hook keep each other alive, and the garbage collector cannot see this."
    ),
    "held by an extension": (
        "No Python name reaches it: look for what you have passed to a library or to native code (a callback)."
    ),
    "kept numpy arrays": "Write them to disk, or keep only what you need, and empty `{name}` once an epoch.",
    "kept objects": "Keep only what you need of each step, or write it to disk, and empty `{name}` once an epoch.",
    "dataset cache": (
        "Limit the size of the dataset's cache, or share one cache between workers (a file, `torch.from_file`, a "
        "memory map): every worker process fills its own."
    ),
    "matplotlib figures": (
        "Close each figure (`plt.close(fig)`), or make it with `matplotlib.figure.Figure()`, which pyplot does not "
        "keep."
    ),
    "profiler left on": (
        "PyTorch's profiler records all steps: give it a `schedule` and call its `step()`, or profile a few steps only."
    ),
    "native memory": (
        "No Python object explains it: look for native code (decoders, extensions), or profile the heap with `memray "
        "run --native`."
    ),
}
"""Cause -> what to do; ``{name}`` is replaced by the user's name for what holds the memory."""

WHERE = {"device": "on the device", "host": "in the host's memory", "worker": "in loader workers"}


def fix_for(kind: str, name: str | None) -> str:
    """What to do about a cause; ``name``: what the user calls that which holds the memory."""
    return FIXES[kind].replace("{name}", name or "the holder")
