"""Person detectors behind one small protocol."""
