"""What lies in each repository so that it can be restored without safebackup: a text and a script in one file.

The script is shipped as data: the library never imports it, and it imports nothing of the library.
"""

from safebackup.emergency.placing import (
    changed_emergency,
    ensure_emergency,
    noted,
    restore_script,
    restore_text,
    script_digest,
    script_name,
)

__all__ = [
    "changed_emergency",
    "ensure_emergency",
    "noted",
    "restore_script",
    "restore_text",
    "script_digest",
    "script_name",
]
