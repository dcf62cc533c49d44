"""doit-oci as it installs: the checkout's ``tasks`` and ``specs`` under one name."""
