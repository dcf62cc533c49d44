"""Many bundles on many machines: the client, what is sent, and a worker's part."""
