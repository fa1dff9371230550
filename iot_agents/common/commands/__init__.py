"""Commands to devices: requested, sent, acknowledged, and done, failed or expired."""
