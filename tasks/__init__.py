"""doit-oci: container images to runnable OCI bundles, as doit tasks keyed by digest."""

__version__ = "0.1.0"
