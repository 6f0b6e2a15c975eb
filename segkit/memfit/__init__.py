"""``memprofile --fit``: what a training would need on a GPU, said without one."""
