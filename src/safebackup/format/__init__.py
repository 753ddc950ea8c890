"""The format: pure bytes to objects and back, as `docs/reference/format.md` specifies it.

Rule 1: nothing here touches a store, a file, a clock or randomness; salts and times are given by the caller.
Rule 2: whatever is read is hostile until checked, and every bound is checked before memory is taken for it.
"""
