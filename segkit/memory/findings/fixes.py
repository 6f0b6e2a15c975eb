"""What keeps memory, and what to do about it: one sentence for each cause."""

FIXES = {
    "kept graph": (
        "Store a number in `{name}` (`loss.item()`) or a `.detach()`ed tensor, or compute it under "
        "`torch.no_grad()`: a tensor with a graph keeps all activations it was computed from."
    ),
    "graph kept after backward": (
        "Store a number in `{name}` (`loss.item()`), not the tensor: it keeps its autograd graph's nodes in host "
        "memory, although backward has freed the saved tensors."
    ),
    "graph over steps": (
        "Cut the graph between steps: carry `{name}.detach()` over to the next step instead of `{name}`."
    ),
    "graph of a sum": (
        "Add numbers, not tensors: `{name} += loss.item()` (or `loss.detach()`): the sum's graph holds that of "
        "every step."
    ),
    "kept tensors": (
        "Store numbers (`.item()`), or a copy on the CPU that is dropped when it was used; empty `{name}` once an"
        " epoch."
    ),
    "kept outputs": (
        "Reduce each batch's outputs to what is needed of them (run lengths, sums, `.cpu()`), and empty `{name}` as "
        "soon as they were used."
    ),
    "growing tensor": (
        "Collect parts only as long as they are needed and join them once; each step's `torch.cat` keeps all that"
        " came before."
    ),
    "growing array": (
        "Collect the parts in a list that is emptied once an epoch, or write them to disk: joining anew at every step"
        " copies all of `{name}` each time, and keeps all that came before."
    ),
    "growing text": "Write the text to a file (`logging`, `print(..., file=...)`) instead of keeping it in `{name}`.",
    "dict without bound": (
        "Drop old entries of `{name}`, or key it by something that comes again, such as the size; what is a cache "
        "can be a `functools.lru_cache(maxsize=...)`."
    ),
    "registered again": (
        "Register the buffer, parameter or module once, before the loop, and copy new values into it: a module keeps "
        "everything that was registered, under every name."
    ),
    "optimizer state": (
        "Give the optimiser all its parameters once, before the loop: it keeps state for every parameter that it was "
        "ever given (`add_param_group`)."
    ),
    "lru_cache": (
        "Give `functools.lru_cache` a small maxsize, call `cache_clear()` once an epoch, and do not cache by "
        "tensors or by `self`."
    ),
    "hook": (
        "Remove the hook when it has done its work (`handle.remove()`), and let it store `.detach()`ed values "
        "that are emptied every step."
    ),
    "hooks registered again": (
        "Register the hook once, before the loop, or call `handle.remove()` at the end of every step."
    ),
    "closure": "Let the inner function return what it computes, or empty `{name}`, which it keeps, every step.",
    "deque without bound": "Give the deque a bound (`deque(maxlen=...)`), or take out what has been written.",
    "generator": "Exhaust or close the generator (`.close()`): suspended, it keeps its local variables.",
    "traceback": (
        "Do not keep the exception: store `str(error)`, or call `traceback.clear_frames(error.__traceback__)`; "
        "its frames keep all their local variables."
    ),
    "thread": "Let the thread drop what it has worked on (`del`, or a bounded `queue.Queue(maxsize=...)`).",
    "queue": (
        "See whether what should empty the queue is alive and fast enough; a bound (`queue.Queue(maxsize=...)`) lets "
        "the producer wait."
    ),
    "class attribute": ("Empty `{name}` every step or epoch: it hangs on a class, which lives as long as the program."),
    "reference cycle": (
        "Break the cycle (a `weakref`, or `del` of the attribute that points back): only the garbage collector "
        "frees it, late or, when switched off, never."
    ),
    "C++ cycle": (
        "Use `torch.autograd.grad` instead of `backward(create_graph=True)`, or set the gradients to None when "
        "they were used: the cycle of tensor and graph is out of the garbage collector's sight."
    ),
    "ctx cycle": "Keep tensors of a custom Function with `ctx.save_for_backward`, not as attributes of `ctx`.",
    "hook cycle": (
        "Remove the hook when it has done its work (`handle.remove()`), or let it not use the tensor that it is "
        "registered on: tensor, graph and hook keep each other, out of the garbage collector's sight."
    ),
    "held by an extension": (
        "No Python name reaches it: look for what a library or native code was given to keep (a callback, an "
        "`atexit` function)."
    ),
    "kept numpy arrays": "Write them to disk or reduce them to what is needed, and empty `{name}` once an epoch.",
    "kept objects": "Keep only what is needed of each step, or write it to disk, and empty `{name}` once an epoch.",
    "dataset cache": (
        "Bound the dataset's cache, or share one between workers (a file, `torch.from_file`, a memory map): every"
        " worker process fills its own."
    ),
    "matplotlib figures": (
        "Close each figure: `plt.close(fig)`, or draw on a `matplotlib.figure.Figure()` of your own."
    ),
    "profiler left on": (
        "PyTorch's profiler is recording all steps: give it a `schedule` and call its `step()`, or profile a few steps "
        "and leave its `with`."
    ),
    "native memory": (
        "No Python container explains it: look for native code (decoders, extensions), or profile the heap with "
        "memray --native."
    ),
}
"""Cause -> what to do; ``{name}`` is what the user calls the holder."""

WHERE = {"device": "on the device", "host": "in the host's memory", "worker": "in loader workers"}


def fix_for(kind: str, name: str | None) -> str:
    """The sentence for a cause."""
    return FIXES[kind].replace("{name}", name or "the holder")
