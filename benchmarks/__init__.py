"""What safebackup costs beside restic, borg, tar and a plain script: `make bench`."""
