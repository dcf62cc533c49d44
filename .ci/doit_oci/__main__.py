"""``python -m doit_oci``: the same program as ``doit-oci``."""

import sys

from .tasks.cli import main

sys.exit(main())
