"""A real federation: SuperLink and SuperNodes, each a process of its own."""
