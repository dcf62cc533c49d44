"""Free space in the state directory: never what a lock still references, nor what is in use."""
