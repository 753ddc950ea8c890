"""Any URL as a tree of files: listed whole and in order, and read; for who deals with files, not with a repository."""

from safebackup.storage.places.listing import Listing, RemoteFile
from safebackup.storage.places.place import OpenFile, Place, open_place

__all__ = ["Listing", "OpenFile", "Place", "RemoteFile", "open_place"]
