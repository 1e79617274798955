"""The chain's artifacts in the formats of others."""
