"""The version of this release; it lies here alone, where every layer may read it."""

VERSION = "0.1.0"
