"""Files that survive a crash: replaced as a whole, resumed where they stopped, identified by content."""
