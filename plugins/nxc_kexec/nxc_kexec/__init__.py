"""Any ssh-reachable machines as nodes: their own system gives way to the composition's by kexec."""
