"""The edges: each effect (files, network, layers, processes) in one module."""
