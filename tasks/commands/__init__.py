"""The commands beside doit's own: name → where it is, loaded when it is asked for."""

from __future__ import annotations

COMMANDS = {
    "run": "doit_bridge:Run",
    "list": "commands.declared:List",
    "lock": "commands.declared:LockCommand",
    "inspect": "commands.declared:Inspect",
    "validate": "commands.state:Validate",
    "verify": "commands.state:Verify",
    "digest": "commands.state:Digest",
    "clean": "commands.state:Clean",
    "forget": "commands.state:Forget",
    "export": "commands.bundles:Export",
    "import": "commands.bundles:Import",
    "reproduce": "commands.bundles:Reproduce",
    "gc": "commands.storage:Gc",
    "cache": "commands.storage:Cache",
    "init": "commands.setup:Init",
    "add": "commands.setup:Add",
    "completion": "commands.setup:Completion",
    "schema": "commands.setup:Schema",
    "man": "commands.setup:Man",
    "help": "commands.manual:Help",
    "why": "commands.insight:Why",
    "graph": "commands.insight:Graph",
    "diff": "commands.insight:Diff",
    "report": "commands.insight:Report",
    "fleet": "commands.fleet:Fleet",
}
