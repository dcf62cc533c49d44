"""Start an OCI runtime on a bundle: find, adapt to this host, launch, supervise."""
