"""What provisioning code would write into resolver files: text in, writes out. Pure; nothing of it is ever run."""
