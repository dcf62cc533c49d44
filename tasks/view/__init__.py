"""What people see: events and their display, why, graph, diff and report."""
