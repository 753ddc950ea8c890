"""Comparing two folders: a source, and what any tool restored of it. Needs no repository and writes nothing."""

from safebackup.comparing.report import Aspect, Difference, Subtree, TreeComparison
from safebackup.comparing.trees import compare_trees

__all__ = ["Aspect", "Difference", "Subtree", "TreeComparison", "compare_trees"]
