"""What a run reaches of the world beside models: tools of MCP servers, and images."""
