"""Remote caches: one protocol over an OCI registry and over whatever fsspec reaches."""
