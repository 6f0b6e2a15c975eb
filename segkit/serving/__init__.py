"""A model as a server: HTTP, a queue, batches, and the protocol of a labelling tool."""
