"""Layers to rootfs: unpack each layer once, merge layers in memory, link the result into a tree.

A layer becomes a pool of inodes with numbers for names and an index of what the layer says
(`unpack`). Indexes of a stack of layers merge into one tree of names without touching the disk
(`merge`), and that tree is written with links to the pools (`materialise`). So no name from an
image is ever looked up on the disk before every component above it is a directory that we made.
See docs/decisions/0002-sharing-layers.md.
"""
