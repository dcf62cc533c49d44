"""The commands: name → where it is, loaded when it is asked for."""

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
    "ps": "commands.containers:Ps",
    "exec": "commands.containers:Exec",
    "logs": "commands.containers:Logs",
    "kill": "commands.containers:Kill",
    "stop": "commands.containers:Stop",
    "pause": "commands.containers:Pause",
    "resume": "commands.containers:Resume",
    "delete": "commands.containers:Delete",
    "stats": "commands.containers:Stats",
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
    "doctor": "commands.insight:Doctor",
    "fleet": "commands.fleet:Fleet",
}

STOCK = {
    "info": "commands.stock:Info",
    "ignore": "commands.stock:Ignore",
    "reset-dep": "commands.stock:ResetDep",
    "strace": "commands.stock:Strace",
    "tabcompletion": "commands.stock:TabCompletion",
    "dumpdb": "commands.stock:DumpDB",
}
"""doit's own, kept from showing a traceback."""
