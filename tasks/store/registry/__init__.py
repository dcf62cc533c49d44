"""The distribution client: the only place that speaks HTTP, and the only importer of requests.

Spec: distribution-spec 1.1.
"""
