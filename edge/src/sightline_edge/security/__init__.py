"""Who may speak to whom: certificates, TLS 1.3 on both sides, and what a node may write and read at the brokers."""
