"""Pictures of the graph: the findings of ``why`` as a text tree, Mermaid, DOT and SVG."""
