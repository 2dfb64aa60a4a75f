"""Where runs are kept: one protocol, one method per transition, one conformance suite."""
