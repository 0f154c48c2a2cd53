"""Small data sets in exactly the formats of the real ones, of moving people whose places are known."""
